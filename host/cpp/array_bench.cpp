// Runs a netlist whose data pins are one wide input `i` and one wide output `o`, cycle by cycle.
// Usage: bench STIMULUS RESPONSE [CYCLES]. STIMULUS holds the words of `i` of each cycle, RESPONSE
// gets those of `o`, both in the order of 32-bit words, lowest first. With CYCLES the stimulus is
// repeated for so many cycles and RESPONSE is left alone. Prints the seconds of simulation.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "Vrpaccel.h"
#include "verilated.h"

namespace {

using Words = std::vector<uint32_t>;

Words read_words(const char* path) {
    FILE* file = std::fopen(path, "rb");
    if (!file) return {};
    std::fseek(file, 0, SEEK_END);
    Words words(static_cast<size_t>(std::ftell(file)) / sizeof(uint32_t));
    std::rewind(file);
    const size_t count = std::fread(words.data(), sizeof(uint32_t), words.size(), file);
    std::fclose(file);
    words.resize(count);
    return words;
}

bool write_words(const char* path, const Words& words) {
    FILE* file = std::fopen(path, "wb");
    if (!file) return false;
    const size_t count = std::fwrite(words.data(), sizeof(uint32_t), words.size(), file);
    return std::fclose(file) == 0 && count == words.size();
}

struct Bench {
    VerilatedContext context;
    std::unique_ptr<Vrpaccel> model = std::make_unique<Vrpaccel>(&context);

    Bench() {
        model->aclk = 0;
        model->aresetn = 0;
        std::memset(&model->i, 0, sizeof(model->i));
        for (int n = 0; n < 4; ++n) edge();
        model->aresetn = 1;
    }
    ~Bench() { model->final(); }

    void edge() {
        model->aclk = 1;
        model->eval();
        model->aclk = 0;
    }

    void settle(const uint32_t* input) {
        std::memcpy(&model->i, input, sizeof(model->i));
        model->eval();
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return std::fprintf(stderr, "usage: bench STIMULUS RESPONSE [CYCLES]\n"), 2;
    Bench bench;
    constexpr size_t IN_WORDS = sizeof(bench.model->i) / sizeof(uint32_t);
    constexpr size_t OUT_WORDS = sizeof(bench.model->o) / sizeof(uint32_t);
    const Words stimulus = read_words(argv[1]);
    const size_t rows = stimulus.size() / IN_WORDS;
    if (rows == 0) return std::fprintf(stderr, "no stimulus in %s\n", argv[1]), 2;
    const size_t cycles = argc > 3 ? std::strtoull(argv[3], nullptr, 10) : rows;
    Words response(argc > 3 ? OUT_WORDS : rows * OUT_WORDS);

    const auto start = std::chrono::steady_clock::now();
    size_t row = 0;
    for (size_t cycle = 0; cycle < cycles; ++cycle) {
        bench.settle(&stimulus[row * IN_WORDS]);
        uint32_t* output = &response[argc > 3 ? 0 : row * OUT_WORDS];
        std::memcpy(output, &bench.model->o, sizeof(bench.model->o));
        bench.edge();
        if (bench.context.gotFinish()) {
            return std::fprintf(stderr, "a check of the netlist failed in cycle %zu\n", cycle), 1;
        }
        row = row + 1 == rows ? 0 : row + 1;
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    std::printf("%.6f\n", seconds.count());
    return argc > 3 || write_words(argv[2], response) ? 0 : 2;
}
