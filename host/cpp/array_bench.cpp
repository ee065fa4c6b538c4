// Runs a netlist whose data pins are wide inputs and wide outputs, cycle by cycle. BENCH_INPUTS(X)
// and BENCH_OUTPUTS(X), to be defined before this text, are X(name) for each of them.
// Usage: bench STIMULUS RESPONSE. STIMULUS holds the words of all inputs, one after another, for
// each cycle, RESPONSE gets those of the outputs, both in 32-bit words, lowest first.
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
#define CLEAR(name) std::memset(&model->name, 0, sizeof(model->name));
        BENCH_INPUTS(CLEAR)
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
#define SET(name)                                                        \
    static_assert(sizeof(model->name) % sizeof(uint32_t) == 0, "words"); \
    std::memcpy(&model->name, input, sizeof(model->name));               \
    input += sizeof(model->name) / sizeof(uint32_t);
        BENCH_INPUTS(SET)
        model->eval();
    }

    void sample(uint32_t* output) const {
#define GET(name)                                                        \
    static_assert(sizeof(model->name) % sizeof(uint32_t) == 0, "words"); \
    std::memcpy(output, &model->name, sizeof(model->name));              \
    output += sizeof(model->name) / sizeof(uint32_t);
        BENCH_OUTPUTS(GET)
    }
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return std::fprintf(stderr, "usage: bench STIMULUS RESPONSE\n"), 2;
    Bench bench;
#define SIZE(name) +sizeof(bench.model->name)
    constexpr size_t IN_WORDS = (0 BENCH_INPUTS(SIZE)) / sizeof(uint32_t);
    constexpr size_t OUT_WORDS = (0 BENCH_OUTPUTS(SIZE)) / sizeof(uint32_t);
    const Words stimulus = read_words(argv[1]);
    const size_t rows = stimulus.size() / IN_WORDS;
    if (rows == 0) return std::fprintf(stderr, "no stimulus in %s\n", argv[1]), 2;
    Words response(rows * OUT_WORDS);

    for (size_t row = 0; row < rows; ++row) {
        bench.settle(&stimulus[row * IN_WORDS]);
        bench.sample(&response[row * OUT_WORDS]);
        bench.edge();
        if (bench.context.gotFinish()) {
            return std::fprintf(stderr, "a check of the netlist failed in cycle %zu\n", row), 1;
        }
    }
    return write_words(argv[2], response) ? 0 : 2;
}
