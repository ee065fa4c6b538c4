#include "rpaccel_driver.h"

#include <string.h>

#define MODULO 0xFFFFu

static int read_register(struct rpaccel_driver *driver, uint32_t address, uint32_t *value)
{
    return driver->bus.register_read(driver->bus.self, address, value) ? RPACCEL_E_BUS : 0;
}

static int write_register(struct rpaccel_driver *driver, uint32_t address, uint32_t value)
{
    return driver->bus.register_write(driver->bus.self, address, value) ? RPACCEL_E_BUS : 0;
}

static int write_wide(struct rpaccel_driver *driver, uint32_t low_address, uint64_t value)
{
    int error = write_register(driver, low_address, (uint32_t)value);
    return error ? error : write_register(driver, low_address + 4, (uint32_t)(value >> 32));
}

int rpaccel_open(struct rpaccel_driver *driver, const struct rpaccel_bus *bus,
                 uint64_t submissions, uint64_t completions, uint32_t depth, uint64_t limit)
{
    const uint32_t events = RPACCEL_IRQ_COMPLETION | RPACCEL_IRQ_ERROR;
    uint32_t id = 0, hash = 0;
    int error = 0;
    if (depth == 0 || depth > MODULO / 2 + 1 || (depth & (depth - 1)) != 0 ||
        (submissions | completions) % RPACCEL_DESCRIPTOR_BYTES != 0)
        return RPACCEL_E_ARGUMENT;
    memset(driver, 0, sizeof *driver);
    driver->bus = *bus;
    driver->submissions = submissions;
    driver->completions = completions;
    driver->depth = depth;
    driver->limit = limit;
    error |= read_register(driver, RPACCEL_REG_ID, &id);
    error |= read_register(driver, RPACCEL_REG_CONFIG_HASH, &hash);
    if (error)
        return RPACCEL_E_BUS;
    if (id != RPACCEL_DEVICE_ID || hash != RPACCEL_CONFIG_HASH)
        return RPACCEL_E_DEVICE;
    error |= write_register(driver, RPACCEL_REG_CONTROL, 0);
    error |= write_wide(driver, RPACCEL_REG_SQ_BASE_LO, submissions);
    error |= write_wide(driver, RPACCEL_REG_CQ_BASE_LO, completions);
    error |= write_register(driver, RPACCEL_REG_SQ_SIZE, depth);
    error |= write_register(driver, RPACCEL_REG_CQ_SIZE, depth);
    /* a device that ran before goes on from its counters */
    error |= read_register(driver, RPACCEL_REG_SQ_HEAD, &driver->submitted);
    error |= read_register(driver, RPACCEL_REG_CQ_TAIL, &driver->taken);
    error |= write_register(driver, RPACCEL_REG_SQ_TAIL, driver->submitted);
    error |= write_register(driver, RPACCEL_REG_CQ_HEAD, driver->taken);
    error |= write_register(driver, RPACCEL_REG_WATCHDOG, RPACCEL_WATCHDOG_CYCLES);
    error |= write_register(driver, RPACCEL_REG_IRQ_STATUS, events);
    error |= write_register(driver, RPACCEL_REG_IRQ_ENABLE, events);
    return error ? RPACCEL_E_BUS : 0;
}

int rpaccel_region(struct rpaccel_driver *driver, uint32_t index, uint64_t base, uint64_t limit,
                   uint32_t permission)
{
    const uint32_t stride = RPACCEL_REG_REGION1_BASE_LO - RPACCEL_REG_REGION0_BASE_LO;
    const uint32_t at = index * stride;
    int error;
    if (index >= RPACCEL_REGIONS)
        return RPACCEL_E_ARGUMENT;
    error = write_register(driver, RPACCEL_REG_REGION0_PERMISSION + at, 0); /* never half-written */
    error |= write_wide(driver, RPACCEL_REG_REGION0_BASE_LO + at, base);
    error |= write_wide(driver, RPACCEL_REG_REGION0_LIMIT_LO + at, limit);
    error |= write_register(driver, RPACCEL_REG_REGION0_PERMISSION + at, permission);
    return error ? RPACCEL_E_BUS : 0;
}

int rpaccel_start(struct rpaccel_driver *driver)
{
    return write_register(driver, RPACCEL_REG_CONTROL, RPACCEL_CONTROL_RUN);
}

int rpaccel_submit(struct rpaccel_driver *driver, uint8_t *descriptor, uint32_t *tag)
{
    const uint64_t entry = driver->submitted & (driver->depth - 1);
    if (((driver->submitted - driver->taken) & MODULO) >= driver->depth)
        return RPACCEL_E_FULL;
    *tag = driver->next_tag++;
    RPACCEL_SET(descriptor, RPACCEL_DESCRIPTOR_VERSION, RPACCEL_ISA_VERSION);
    RPACCEL_SET(descriptor, RPACCEL_DESCRIPTOR_TAG, *tag);
    if (driver->bus.memory_write(driver->bus.self,
                                 driver->submissions + entry * RPACCEL_DESCRIPTOR_BYTES,
                                 descriptor, RPACCEL_DESCRIPTOR_BYTES))
        return RPACCEL_E_BUS;
    driver->submitted = (driver->submitted + 1) & MODULO;
    return write_register(driver, RPACCEL_REG_SQ_TAIL, driver->submitted);
}

int rpaccel_wait(struct rpaccel_driver *driver, uint8_t *completion)
{
    uint32_t tail = 0, status = 0;
    int error;
    if (driver->submitted == driver->taken)
        return RPACCEL_E_EMPTY;
    for (;;) {
        error = read_register(driver, RPACCEL_REG_CQ_TAIL, &tail);
        if (error)
            return error;
        if (tail != driver->taken)
            break;
        if (driver->bus.wait_interrupt(driver->bus.self, driver->limit) != 1)
            return RPACCEL_E_TIMEOUT;
        error = read_register(driver, RPACCEL_REG_IRQ_STATUS, &status);
        error |= write_register(driver, RPACCEL_REG_IRQ_STATUS, status);
        if (error)
            return RPACCEL_E_BUS;
    }
    if (driver->bus.memory_read(driver->bus.self,
                                driver->completions + (uint64_t)(driver->taken & (driver->depth - 1)) *
                                                          RPACCEL_COMPLETION_BYTES,
                                completion, RPACCEL_COMPLETION_BYTES))
        return RPACCEL_E_BUS;
    driver->taken = (driver->taken + 1) & MODULO;
    return write_register(driver, RPACCEL_REG_CQ_HEAD, driver->taken);
}
