/* Runs a job file on the simulated device: loads models, asks its queries, prints the answers.
 *
 * The job file is what host/c_job.py writes, all 64-bit little-endian unless said otherwise:
 *   memory bytes; ring addresses (submissions, completions); ring entries
 *   number of regions, each: base, limit, permission
 *   number of segments, each: address, length, bytes
 *   number of descriptors, each RPACCEL_DESCRIPTOR_BYTES bytes (the LOAD first)
 * A line is printed for each completion: tag, status, count; then id, logit and ctr of each result.
 */
#include <stdio.h>
#include <stdlib.h>

#include "rpaccel_driver.h"

#define LIMIT_CYCLES 100000000u

/* The simulated device: the library that `rpaccel` builds with Verilator. Timing: all defaults. */
void *rpaccel_create_default(uint64_t memory_bytes);
void rpaccel_destroy(void *handle);
int rpaccel_register_write(void *handle, uint32_t address, uint32_t value);
int rpaccel_register_read(void *handle, uint32_t address, uint32_t *value);
int rpaccel_memory_read(void *handle, uint64_t address, uint8_t *bytes, uint64_t length);
int rpaccel_memory_write(void *handle, uint64_t address, const uint8_t *bytes, uint64_t length);
int rpaccel_run_until_interrupt(void *handle, uint64_t limit);

static void fail(const char *what, int error)
{
    fprintf(stderr, "%s: error %d\n", what, error);
    exit(1);
}

static uint64_t number(FILE *file)
{
    uint8_t raw[8];
    if (fread(raw, 1, sizeof raw, file) != sizeof raw)
        fail("job file is too short", 0);
    return rpaccel_get(raw, 0, 64);
}

static uint8_t *bytes(FILE *file, uint64_t length)
{
    uint8_t *raw = malloc(length ? length : 1);
    if (raw == NULL || fread(raw, 1, length, file) != length)
        fail("job file is too short", 0);
    return raw;
}

static void answer(struct rpaccel_driver *driver, uint8_t *const *descriptors)
{
    uint8_t completion[RPACCEL_COMPLETION_BYTES], result[RPACCEL_RESULT_BYTES];
    int error = rpaccel_wait(driver, completion);
    uint64_t tag, count, i, address;
    if (error)
        fail("wait", error);
    tag = RPACCEL_GET(completion, RPACCEL_COMPLETION_TAG);
    count = RPACCEL_GET(completion, RPACCEL_COMPLETION_COUNT);
    printf("%llu %llu %llu\n", (unsigned long long)tag,
           (unsigned long long)RPACCEL_GET(completion, RPACCEL_COMPLETION_STATUS),
           (unsigned long long)count);
    address = RPACCEL_GET(descriptors[tag], RPACCEL_DESCRIPTOR_RESULT_ADDRESS);
    for (i = 0; i < count; ++i) {
        if (driver->bus.memory_read(driver->bus.self, address + i * sizeof result, result,
                                    sizeof result))
            fail("results", RPACCEL_E_BUS);
        printf("%llu %lld %llu\n", (unsigned long long)RPACCEL_GET(result, RPACCEL_RESULT_ID),
               (long long)RPACCEL_GET_SIGNED(result, RPACCEL_RESULT_LOGIT),
               (unsigned long long)RPACCEL_GET(result, RPACCEL_RESULT_CTR));
    }
}

int main(int argc, char **argv)
{
    struct rpaccel_bus bus;
    struct rpaccel_driver driver;
    uint64_t memory_bytes, submissions, completions, depth, count, i, waiting = 0;
    uint8_t **descriptors;
    FILE *file;
    int error;

    if (argc != 2 || (file = fopen(argv[1], "rb")) == NULL) {
        fprintf(stderr, "usage: %s job-file\n", argv[0]);
        return 2;
    }
    memory_bytes = number(file);
    submissions = number(file);
    completions = number(file);
    depth = number(file);
    bus.self = rpaccel_create_default(memory_bytes);
    bus.register_read = rpaccel_register_read;
    bus.register_write = rpaccel_register_write;
    bus.memory_read = rpaccel_memory_read;
    bus.memory_write = rpaccel_memory_write;
    bus.wait_interrupt = rpaccel_run_until_interrupt;
    if (bus.self == NULL)
        fail("no memory for the device", 0);
    error = rpaccel_open(&driver, &bus, submissions, completions, (uint32_t)depth, LIMIT_CYCLES);
    if (error)
        fail("open", error);
    count = number(file);
    for (i = 0; i < count; ++i) {
        const uint64_t base = number(file), limit = number(file);
        error = rpaccel_region(&driver, (uint32_t)i, base, limit, (uint32_t)number(file));
        if (error)
            fail("region", error);
    }
    count = number(file);
    for (i = 0; i < count; ++i) {
        const uint64_t address = number(file), length = number(file);
        uint8_t *payload = bytes(file, length);
        if (bus.memory_write(bus.self, address, payload, length))
            fail("segment", RPACCEL_E_BUS);
        free(payload);
    }
    error = rpaccel_start(&driver);
    if (error)
        fail("start", error);

    count = number(file);
    descriptors = calloc(count ? count : 1, sizeof *descriptors);
    if (descriptors == NULL)
        fail("no memory", 0);
    for (i = 0; i < count; ++i) {
        uint32_t tag;
        descriptors[i] = bytes(file, RPACCEL_DESCRIPTOR_BYTES);
        while ((error = rpaccel_submit(&driver, descriptors[i], &tag)) == RPACCEL_E_FULL) {
            answer(&driver, descriptors);
            --waiting;
        }
        if (error)
            fail("submit", error);
        ++waiting;
    }
    while (waiting--)
        answer(&driver, descriptors);
    for (i = 0; i < count; ++i)
        free(descriptors[i]);
    free(descriptors);
    fclose(file);
    rpaccel_destroy(bus.self);
    return 0;
}
