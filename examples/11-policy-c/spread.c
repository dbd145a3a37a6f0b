/* SPDX-License-Identifier: Apache-2.0
 *
 * spread: a scheduling policy in C. Each backend gets its configured weight,
 * less the more connections it has open beyond its part of all, and never less
 * than a floor:
 *
 *     fair   = all connections * weight / all weights
 *     weight * clip(fair / connections, floor, 1 / floor)
 *
 * The square root and the average with the answer before keep it from swinging.
 */
#include "steelyard.h"

SY_MANIFEST(
    "{\"abi\":1,\"policies\":[{\"name\":\"spread\","
    "\"about\":\"configured weights, corrected by open connections\","
    "\"reads\":[\"connections\"],\"backend_slots\":1,"
    "\"params\":[{\"name\":\"floor\",\"default\":0.25,\"min\":0.01,\"max\":1,"
    "\"about\":\"least factor on the configured weight\"}]}]}")

static int takes_part(const sy_backend *b) {
    return b->weight > 0 && b->health != SY_DOWN;
}

static double clip(double v, double lo, double hi) {
    return v < lo ? lo : v > hi ? hi : v;
}

SY_SCHEDULE(s) {
    double floor = sy_param(s, 0, 0.25), conns = 0, weights = 0, top = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        if (!takes_part(b) || !(b->valid & SY_CONNS)) continue;
        conns += b->conns;
        weights += b->weight;
        if (b->weight > top) top = b->weight;
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        if (!takes_part(b)) {
            sy_set(s, i, 0);
            continue;
        }
        if (!(b->valid & SY_CONNS)) {
            sy_hold(s, i);
            continue;
        }
        double fair = conns * b->weight / weights;
        double factor = clip(__builtin_sqrt((fair + 1) / (b->conns + 1)), floor, 1 / floor);
        double *before = sy_backend_state(s, i); /* 0 at first */
        if (*before > 0) factor = 0.8 * *before + 0.2 * factor;
        *before = factor;
        /* sy_set takes 0 to 1000: scale so that the largest fits. */
        sy_set(s, i, b->weight / top * factor * floor * 1000);
    }
    return SY_OK;
}
