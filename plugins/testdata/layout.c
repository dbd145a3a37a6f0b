/* SPDX-License-Identifier: Apache-2.0 */
/* Compares the C header's fields with the golden snapshot of plugins/abi and
 * names the first one that is not where it should be. */
#include "steelyard.h"

#define WANT(cond) if (!(cond)) return sy_fail(#cond)

SY_SCHEDULE(s) {
    WANT(s->magic[0] == 'S' && s->magic[3] == '1');
    WANT(s->major == 1 && s->minor == 0);
    WANT(s->header_size == sizeof(sy_snapshot) && s->stride == sizeof(sy_backend));
    WANT(s->service_id == 0x1122334455667788ull);
    WANT(s->seq == 42);
    WANT(s->now_ns == 1700000000000000005ll);
    WANT(s->dt_s == 1.5);
    WANT(s->n == 2);
    WANT(s->entry == 3 && s->n_params == 2 && s->n_custom == 0);
    WANT(s->svc_state_len == 8 && s->be_state_stride == 16);
    WANT(s->seed != 0);
    WANT(sy_param(s, 0, 9) == 0.3 && sy_param(s, 1, 9) == 9);
    const sy_backend *b = sy_at(s, 0);
    WANT(b->id == 0xA1A2A3A4A5A6A7A8ull);
    WANT(b->weight == 100 && b->share == 16384);
    WANT(b->health == SY_UP && b->flags == 0 && b->valid == 63);
    WANT(b->conns == 1234);
    WANT(b->cpu == 0.5 && b->response == 0.0125);
    WANT(b->opened == 10.5 && b->done == 9.25 && b->cores == 8);
    WANT(b->cpu_age == 2 && b->response_age == 3 && b->conns_age == 0.25f);
    WANT(b->health_seconds == 90 && b->cpu_window == 5 && b->cpu_seq == 7);
    b = sy_at(s, 1);
    WANT(b->id == 2 && b->health == SY_DOWN && b->valid == 0);
    WANT(b->cpu != b->cpu && b->cores != b->cores && b->cpu_age != b->cpu_age);
    WANT(((const char *)sy_backend_state(s, 0))[0] == 'b');
    WANT(((const char *)sy_service_state(s))[0] == 's');
    for (uint32_t i = 0; i < s->n; i++)
        WANT(((const uint32_t *)((const char *)s + s->out_off))[i] == 0xFFFFFFFFu);
    sy_set(s, 0, 2);
    sy_hold(s, 1);
    return SY_OK;
}
