"""A distillation of seconds: what tests set where they run whole commands, in place of `quick`'s values."""

VALUES = (
    "inversion.batches=3", "inversion.warmup_batches=1", "inversion.batch_size=4", "inversion.steps=2",
    "inversion.first_steps=2", "inversion.refine_steps=1", "inversion.ngf=4", "distillation.batch_size=4",
    "distillation.alternate.steps=2", "distillation.finish.steps=3",
    "distillation.finish.clip_norm=1",  # three steps have no warm-up
)
OPTIONS = tuple(word for value in VALUES for word in ("--set", value))  # as they are typed
