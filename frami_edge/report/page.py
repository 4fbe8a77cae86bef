"""The page itself: one file of HTML that needs nothing else, neither beside it nor from the network."""

from importlib import resources

from jinja2 import Environment, StrictUndefined

from frami_edge import __version__
from frami_edge.report.contents import Contents


def render(contents: Contents) -> str:
    """HTML. What a card or a file's name says is escaped: a vendor's label is text, never markup."""
    # ours alone is marked safe in the template: the curves, and the URIs of pictures and sounds
    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = resources.files("frami_edge.report").joinpath("page.html").read_text(encoding="utf-8")
    return pages.from_string(template).render(it=contents, verdict=contents.told.verdict, told=contents.told,
                                              version=__version__)
