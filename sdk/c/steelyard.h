/* SPDX-License-Identifier: Apache-2.0
 *
 * steelyard.h: write a scheduling policy for steelyard in C. One header, no
 * library. A policy looks at a snapshot of a service and gives each backend a
 * weight; only the ratios of the weights matter.
 *
 *     #include "steelyard.h"
 *
 *     SY_MANIFEST("{\"abi\":1,\"policies\":[{\"name\":\"idle\"}]}")
 *
 *     SY_SCHEDULE(s) {
 *         for (uint32_t i = 0; i < s->n; i++) {
 *             const sy_backend *b = sy_at(s, i);
 *             if (b->valid & SY_CPU) sy_set(s, i, 1.0 - b->cpu);
 *             else                   sy_hold(s, i);
 *         }
 *         return SY_OK;
 *     }
 *
 *     clang --target=wasm32 -O2 -nostdlib -ffreestanding -Wl,--no-entry \
 *           -I sdk/c -o idle.wasm idle.c
 *
 * A policy has 50 ms of CPU time and 16 MiB of memory, no clock, no file and no
 * network. Keep nothing in variables between two calls: state belongs into the
 * slots of sy_backend_state and sy_service_state, which the host keeps, and
 * commits only when the call returned SY_OK and every backend has an answer.
 * An error or a trap leaves the weights in force as they were.
 *
 * The layout is ABI v1; the host's description is in plugins/abi.
 */
#ifndef STEELYARD_H
#define STEELYARD_H

#include <stdint.h>

#define SY_EXPORT(name) __attribute__((export_name(#name), used))
#define SY_IMPORT(name) __attribute__((import_module("steelyard"), import_name(#name)))

enum { SY_UNKNOWN = 0, SY_UP = 1, SY_DOWN = 2 };              /* sy_backend.health */
enum { SY_CPU = 1, SY_CORES = 2, SY_RESPONSE = 4,             /* sy_backend.valid */
       SY_CONNS = 8, SY_NEW = 16, SY_DONE = 32 };
enum { SY_DEBUG = 0, SY_INFO = 1, SY_WARN = 2, SY_ERROR = 3 };/* levels of sy_log */
enum { SY_OK = 0, SY_FAIL = -1 };                             /* what SY_SCHEDULE returns */

#define SY_HOLD 0xFFFFFFFEu

/* The snapshot. Offsets count from its start; read sizes from the data. */
typedef struct {
    char     magic[4];
    uint16_t major, minor;
    uint32_t header_size, total_size;
    uint64_t service_id, seq;
    int64_t  now_ns;
    double   dt_s;                     /* since the decision before; 0 at the first */
    uint32_t n, stride, rec_off, out_off;
    uint32_t svc_state_off, svc_state_len, be_state_off, be_state_stride;
    uint32_t params_off, n_params, entry, n_custom, custom_dir_off, zero;
    uint64_t seed;
    uint8_t  reserved[16];
} sy_snapshot;

/* One backend. A value whose bit is not in valid is NaN, or 0 for conns. */
typedef struct {
    uint64_t id;
    uint32_t weight;                   /* configured, 0 to 1000 */
    uint32_t share;                    /* applied before, in 1/65536 */
    uint8_t  health, flags;
    uint16_t valid;
    uint32_t conns;                    /* open connections */
    double   cpu;                      /* busy ratio of all cores, 0 to 1 */
    double   response;                 /* seconds */
    double   opened, done;             /* connections per second; done over cpu_window */
    double   cores;
    float    cpu_age, response_age, conns_age; /* seconds */
    float    health_seconds;           /* in this state of health */
    float    cpu_window;               /* seconds */
    uint32_t cpu_seq;                  /* counts fresh CPU samples */
    uint8_t  reserved[8];
} sy_backend;

_Static_assert(sizeof(sy_snapshot) == 128, "header of ABI v1");
_Static_assert(sizeof(sy_backend) == 96, "record of ABI v1");

/* Host functions. */
SY_IMPORT(log) void sy_host_log(uint32_t level, const char *text, uint32_t len);
SY_IMPORT(random) uint64_t sy_random(void);
SY_IMPORT(abort) void sy_host_abort(const char *text, uint32_t len);

static inline uint32_t sy_strlen(const char *s) {
    uint32_t n = 0;
    while (s[n]) n++;
    return n;
}

/* sy_log writes a line of at most 512 bytes; 16 lines per call are kept. */
static inline void sy_log(uint32_t level, const char *text) {
    sy_host_log(level, text, sy_strlen(text));
}

/* sy_fail names the cause of an error: return sy_fail("no idea"); */
static inline int32_t sy_fail(const char *text) {
    sy_log(SY_ERROR, text);
    return SY_FAIL;
}

static inline const sy_backend *sy_at(const sy_snapshot *s, uint32_t i) {
    return (const sy_backend *)((const char *)s + s->rec_off + i * s->stride);
}

/* sy_param is parameter i of the manifest, or fallback if it is not given. */
static inline double sy_param(const sy_snapshot *s, uint32_t i, double fallback) {
    if (i >= s->n_params) return fallback;
    double v = ((const double *)((const char *)s + s->params_off))[i];
    return v == v ? v : fallback;
}

static inline double *sy_backend_state(sy_snapshot *s, uint32_t i) {
    return (double *)((char *)s + s->be_state_off + i * s->be_state_stride);
}

static inline double *sy_service_state(sy_snapshot *s) {
    return (double *)((char *)s + s->svc_state_off);
}

/* sy_set gives backend i a weight from 0 to 1000, in steps of a millionth. A
 * weight outside, or not a number, aborts the call. */
static inline void sy_set(sy_snapshot *s, uint32_t i, double w) {
    if (!(w >= 0 && w <= 1000)) {
        static const char why[] = "a weight is not a number from 0 to 1000";
        sy_host_abort(why, sizeof why - 1);
    }
    ((uint32_t *)((char *)s + s->out_off))[i] = (uint32_t)(w * 1e6 + 0.5);
}

/* sy_hold says that the policy has no opinion of backend i. */
static inline void sy_hold(sy_snapshot *s, uint32_t i) {
    ((uint32_t *)((char *)s + s->out_off))[i] = SY_HOLD;
}

/* SY_SCHEDULE(s) { ... } is the policy. */
#define SY_SCHEDULE(s)                                                         \
    static int32_t sy_policy(sy_snapshot *s);                                  \
    SY_EXPORT(sy_schedule) int32_t sy_entry(sy_snapshot *p, uint32_t len) {    \
        (void)len;                                                             \
        return sy_policy(p);                                                   \
    }                                                                          \
    static int32_t sy_policy(sy_snapshot *s)

/* SY_MANIFEST("...") tells names, parameters, state slots and readings, as JSON. */
#define SY_MANIFEST(json)                                                      \
    SY_EXPORT(sy_manifest) uint64_t sy_manifest_text(void) {                   \
        static const char text[] = json;                                       \
        return (uint64_t)(uintptr_t)text << 32 | (sizeof text - 1);            \
    }

SY_EXPORT(sy_abi_v1) int32_t sy_abi(void) { return 0; }

/* sy_alloc has one block, at the end of the program's data, and grows memory
 * until it fits. Define SY_NO_ALLOC to bring your own. */
#ifndef SY_NO_ALLOC
extern unsigned char __heap_base;

SY_EXPORT(sy_alloc) uint32_t sy_alloc_block(uint32_t size) {
    uint32_t start = ((uint32_t)(uintptr_t)&__heap_base + 7) & ~7u;
    uint64_t have = (uint64_t)__builtin_wasm_memory_size(0) << 16;
    if ((uint64_t)start + size > have) {
        uint64_t pages = ((uint64_t)start + size - have + 65535) >> 16;
        if (__builtin_wasm_memory_grow(0, pages) == (uintptr_t)-1) return 0;
    }
    return start;
}
#endif

#endif
