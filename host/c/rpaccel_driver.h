/* A small driver for a device of the generated rpaccel.h: rings, descriptors, completions.
 *
 * Functions return 0, or a negative RPACCEL_E_*. One thread at a time. */
#ifndef RPACCEL_DRIVER_H
#define RPACCEL_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "rpaccel.h"

#define RPACCEL_E_BUS (-1)     /* an access failed */
#define RPACCEL_E_DEVICE (-2)  /* not a device of this header */
#define RPACCEL_E_FULL (-3)    /* no ring entry is free */
#define RPACCEL_E_TIMEOUT (-4) /* no interrupt in time */
#define RPACCEL_E_EMPTY (-5)   /* nothing is in flight */
#define RPACCEL_E_ARGUMENT (-6) /* a number that the device cannot take */

#define RPACCEL_WATCHDOG_CYCLES (1u << 20) /* a lane without progress for so long is reset */

/* How the device is reached; functions return 0 for success. */
struct rpaccel_bus {
    void *self;
    int (*register_read)(void *self, uint32_t address, uint32_t *value);
    int (*register_write)(void *self, uint32_t address, uint32_t value);
    int (*memory_read)(void *self, uint64_t address, uint8_t *bytes, uint64_t length);
    int (*memory_write)(void *self, uint64_t address, const uint8_t *bytes, uint64_t length);
    int (*wait_interrupt)(void *self, uint64_t limit); /* 1: it is high */
};

struct rpaccel_driver {
    struct rpaccel_bus bus;
    uint64_t submissions, completions; /* addresses of the rings */
    uint32_t depth;                    /* entries of each, a power of two, at most 2**15 */
    uint32_t submitted, taken;         /* modulo 2**16 */
    uint32_t next_tag;
    uint64_t limit; /* of a wait */
};

/* Check the device, place the rings (128-byte aligned), set the watchdog, enable the interrupt. */
int rpaccel_open(struct rpaccel_driver *driver, const struct rpaccel_bus *bus,
                 uint64_t submissions, uint64_t completions, uint32_t depth, uint64_t limit);

/* Let the device access [base, limit), 64-byte aligned; index: below RPACCEL_REGIONS; permission:
 * RPACCEL_PERMISSION_*. */
int rpaccel_region(struct rpaccel_driver *driver, uint32_t index, uint64_t base, uint64_t limit,
                   uint32_t permission);

/* Let the device take descriptors. */
int rpaccel_start(struct rpaccel_driver *driver);

/* Fill in version and tag, write the descriptor, ring the doorbell. */
int rpaccel_submit(struct rpaccel_driver *driver, uint8_t *descriptor, uint32_t *tag);

/* Take the oldest completion, whichever query it answers; wait for it if there is none. */
int rpaccel_wait(struct rpaccel_driver *driver, uint8_t *completion);

#endif
