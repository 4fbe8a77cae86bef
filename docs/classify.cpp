// Labels raw sound on stdin: mono, 16-bit little-endian, at the model's own sample rate.
//
//     c++ -std=c++17 -O2 classify.cpp -I /usr/include/onnxruntime -lonnxruntime -o classify
//     ffmpeg -v error -i dog.flac -f s16le -ac 1 -ar 16000 - | ./classify student.onnx 16000
//
// The second argument is the rate of the sound; nothing is resampled here, so another rate than the model's is refused.
// Clips are not brought to the length of training either: bring them to it first ("seconds" and "preparation" in
// frami.clip say how). Where preparation is not "crop", a model may ignore what is longer.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include <onnxruntime_cxx_api.h>

static std::string metadata(const Ort::Session& session, const char* key) {
    Ort::AllocatorWithDefaultOptions allocator;
    auto value = session.GetModelMetadata().LookupCustomMetadataMapAllocated(key, allocator);
    return value ? value.get() : "";
}

// The strings of a JSON list, in UTF-8. Escapes of control characters are left as they are.
static std::vector<std::string> strings(const std::string& json) {
    std::vector<std::string> found;
    bool inside = false;
    for (size_t at = 0; at < json.size(); ++at) {
        if (json[at] == '"') {
            if ((inside = !inside)) found.emplace_back();
        } else if (inside) {
            if (json[at] == '\\' && (json[at + 1] == '"' || json[at + 1] == '\\')) ++at;
            found.back() += json[at];
        }
    }
    return found;
}

int main(int count, char** arguments) try {
    if (count != 3) return std::fprintf(stderr, "usage: %s MODEL.onnx RATE < sound.raw\n", arguments[0]), 2;
    Ort::Env environment(ORT_LOGGING_LEVEL_ERROR);
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    Ort::Session session(environment, arguments[1], options);
    const auto labels = strings(metadata(session, "frami.labels"));
    if (labels.empty()) return std::fprintf(stderr, "%s is not from frami-edge export\n", arguments[1]), 3;

    const std::string rate = metadata(session, "sample_rate");
    if (rate != arguments[2])
        return std::fprintf(stderr, "the model hears %s Hz, not %s\n", rate.c_str(), arguments[2]), 2;

    std::vector<float> wave;
    for (int16_t sample; std::fread(&sample, sizeof sample, 1, stdin) == 1;) wave.push_back(sample / 32768.0f);
    if (wave.empty()) return std::fprintf(stderr, "no sound on stdin\n"), 3;

    const std::vector<int64_t> shape{1, static_cast<int64_t>(wave.size())};  // (batch, samples)
    auto input = Ort::Value::CreateTensor<float>(Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault),
                                                 wave.data(), wave.size(), shape.data(), shape.size());
    const char *waveform = "waveform", *logits = "logits";
    auto outputs = session.Run(Ort::RunOptions{}, &waveform, &input, 1, &logits, 1);

    std::vector<float> values(outputs[0].GetTensorData<float>(), outputs[0].GetTensorData<float>() + labels.size());
    const float largest = *std::max_element(values.begin(), values.end());
    float sum = 0;
    for (float& value : values) sum += value = std::exp(value - largest);  // softmax
    for (size_t label = 0; label < labels.size(); ++label)
        std::printf("%6.2f %%  %s\n", 100 * values[label] / sum, labels[label].c_str());
} catch (const Ort::Exception& error) {
    return std::fprintf(stderr, "%s\n", error.what()), 3;
}
