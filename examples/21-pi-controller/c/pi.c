/* SPDX-License-Identifier: Apache-2.0
 *
 * pi: a PI controller that makes CPUs equal, as a policy in C. The README beside
 * has the formula.
 */
#include "steelyard.h"

SY_POLICY({
    "name": "pi",
    "about": "configured weights, corrected by a PI controller until CPUs are equal",
    "params": [
        {"name": "kp", "default": 0.3, "min": 0, "max": 2, "unit": "ratio", "about": "answer to a change of the error"},
        {"name": "ki", "default": 0.02, "min": 0, "max": 1, "unit": "per second", "about": "answer to a lasting error"},
        {"name": "band", "default": 8, "min": 1, "max": 1000, "unit": "ratio", "about": "largest factor on the configured weight"}
    ],
    "reads": ["cpu"],
    "backend_slots": 2
})

enum { KP, KI, BAND }; /* parameters, in the order of the manifest */

/* A backend's state. */
typedef struct {
    double factor; /* on the configured weight; 0 before the first decision */
    double error;  /* of the decision before */
} state;

static int takes_part(const sy_backend *b) {
    return b->weight > 0 && b->health != SY_DOWN;
}

static double clip(double x, double low, double high) {
    return x < low ? low : x > high ? high : x;
}

SY_SCHEDULE(s) {
    double sum = 0, n = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        if (takes_part(b) && b->valid & SY_CPU) {
            sum += b->cpu;
            n++;
        }
    }
    double mean = clip(sum / n, 0.05, 1);
    double kp = sy_param(s, KP), band = sy_param(s, BAND);
    double ki = sy_param(s, KI) * clip(s->seconds, 0, 10);
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        state *st = (state *)sy_backend_state(s, i);
        if (!takes_part(b)) {
            *st = (state){0};
            sy_set_weight(s, i, 0);
        } else if (!(b->valid & SY_CPU)) {
            sy_hold(s, i);
        } else {
            double e = clip((mean - b->cpu) / mean, -0.5, 0.5);
            double step = clip(kp * (e - st->error) + ki * e, -0.25, 0.25);
            double f = st->factor > 0 ? st->factor : 1;
            *st = (state){clip(f * (1 + step), 1 / band, band), e};
            sy_set_weight(s, i, b->weight * st->factor);
        }
    }
    return SY_OK;
}
