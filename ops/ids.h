/* ids.h - integer inputs that index rows or classes: reading and range check. */
#ifndef WEFT_OPS_IDS_H
#define WEFT_OPS_IDS_H

#include "graph/op.h"

/* Element i of a dense i32 or i64 tensor. */
static inline int64_t weft_id(const weft_tensor *t, int64_t i)
{
    return t->dtype == WEFT_I64 ? ((const int64_t *)t->data)[i] : ((const int32_t *)t->data)[i];
}

/* Position of the first element outside 0..n-1 other than `ignore`, or -1.  Ids come from data
 * files, so kernels always look: one pass over integers costs nothing beside the rows that they
 * index. */
static inline int64_t weft_ids_check(const weft_tensor *t, int64_t n, int64_t ignore)
{
    for (int64_t i = 0; i < t->count; i++) {
        int64_t id = weft_get_int(t, i);
        if ((id < 0 || id >= n) && id != ignore)
            return i;
    }
    return -1;
}

#endif
