/* profile.h - where the time of a program goes, by op. */
#ifndef WEFT_TOOLS_PROFILE_H
#define WEFT_TOOLS_PROFILE_H

#include "tools/verbs.h"

enum { PROFILE_MAX = 256 };

/* All steps of one op with one implementation. */
typedef struct {
    const char *op, *impl;
    int64_t calls; /* in one run */
    double ns, flops;
} profile_line;

typedef struct {
    profile_line line[PROFILE_MAX];
    int n;
    double ns;
} profile_table;

/* Adds the steps of a program that ran `runs` times with profiling on. */
void profile_add(profile_table *t, const weft_program *p, int64_t runs);
void profile_sort(profile_table *t); /* slowest first */
void profile_print(const profile_table *t, FILE *f);
void profile_json(const profile_table *t, FILE *f); /* a JSON array */

#endif
