/* SPDX-License-Identifier: Apache-2.0
 *
 * capacity: weighted least CPU as a policy in C. The README beside has the
 * formula.
 */
#include "steelyard.h"

SY_POLICY({
    "name": "capacity",
    "about": "shares that make the CPUs of all backends equally busy",
    "params": [{"name": "alpha", "default": 0.3, "min": 0.01, "max": 1, "unit": "ratio",
                "about": "weight of a fresh sample"}],
    "reads": ["cpu", "closed"],
    "backend_slots": 2
})

/* A backend's state. */
typedef struct {
    double estimate; /* connections per second at full CPU; 0 until known */
    double seq;      /* of the CPU sample looked at last */
} state;

static int takes_part(const sy_backend *b) {
    return b->weight > 0 && b->health != SY_DOWN;
}

static int knows(const sy_backend *b, uint16_t readings) {
    return (b->valid & readings) == readings;
}

/* learn takes a fresh CPU sample into the estimate. */
static void learn(const sy_backend *b, state *st, double alpha) {
    if (b->health != SY_UP || !knows(b, SY_CPU | SY_CLOSED) || b->cpu_seq == st->seq) return;
    st->seq = b->cpu_seq;
    if (b->cpu < 0.05 || b->closed * b->cpu_window < 5) return;
    double x = b->closed / b->cpu;
    if (st->estimate > 0) x = st->estimate + alpha * (x - st->estimate);
    st->estimate = x;
}

SY_SCHEDULE(s) {
    double known = 0, weights = 0;
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        state *st = (state *)sy_backend_state(s, i);
        learn(b, st, sy_param(s, 0));
        if (takes_part(b) && st->estimate > 0) {
            known += st->estimate;
            weights += b->weight;
        }
    }
    for (uint32_t i = 0; i < s->n; i++) {
        const sy_backend *b = sy_at(s, i);
        double estimate = ((state *)sy_backend_state(s, i))->estimate;
        if (!takes_part(b))         sy_set_weight(s, i, 0);
        else if (estimate > 0)      sy_set_weight(s, i, estimate);
        else if (!knows(b, SY_CPU)) sy_hold(s, i); /* not measured is not idle */
        else if (known > 0)         sy_set_weight(s, i, b->weight * (known / weights));
        else                        sy_set_weight(s, i, b->weight);
    }
    return SY_OK;
}
