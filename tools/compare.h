/* compare.h - runs against each other: arms of runs, their curves, and what the verb says of
 * them. */
#ifndef WEFT_TOOLS_COMPARE_H
#define WEFT_TOOLS_COMPARE_H

#include "graph/util.h"
#include "tools/verbs.h"

typedef struct {
    int64_t step, tokens;
    double loss;
} cmp_point;

/* How a run was or will be made. */
typedef struct {
    const char *path;     /* of the recipe */
    const char *settings; /* of weft_recipe_settings */
    weft_graph *graph;    /* its model, expanded */
    uint64_t model;       /* hash of what the graph computes */
} cmp_setup;

/* A setting in which two of them differ. */
typedef struct {
    const char *name, *own, *other; /* values; NULL: it has none */
    bool said;                      /* by the first one's settings; else a default */
} cmp_difference;
typedef struct {
    cmp_difference *item;
    int n, cap;
} cmp_differences;

/* What became of a run. */
typedef enum {
    RUN_FINISHED,
    RUN_STOPPED,      /* its last evaluation is before the recipe's last step */
    RUN_NO_EVALUATION /* nothing to compare */
} cmp_state;

typedef struct {
    const char *dir, *name; /* name: the recipe's */
    cmp_setup setup;        /* the graph is kept for the first run of an arm only */
    const char *measured;   /* the output that was evaluated */
    cmp_state state;
    int64_t seed, step, steps; /* last logged step; the recipe's last */
    int64_t val_tokens;        /* of the last evaluation; 0: not known */
    cmp_point *point;          /* evaluations, by tokens */
    int n, cap;
    double tokens_per_s; /* median; NaN: not known */
    weft_recipe_size size;
    bool used;    /* in the final numbers */
    double final; /* loss at the place of comparison; NaN unless used */
} cmp_run;

/* A mean over seeds: n values, sample standard deviation (NaN for one value). */
typedef struct {
    int n;
    double mean, sd, min, max;
} cmp_spread;

/* Mean and range over the runs of an arm at the tokens where any of them was evaluated. */
typedef struct {
    int n;
    double *tokens, *mean, *min, *max;
    bool interpolated; /* evaluations at different places were joined by straight lines */
} cmp_curve;

/* Where a curve first comes down to a loss. */
typedef struct {
    bool known, reached;
    bool first;    /* it was below at its first evaluation: reached there or before */
    double tokens; /* NaN unless reached */
} cmp_crossing;

typedef struct {
    const char *name;
    cmp_run **run;
    int n_run, cap_run;
    cmp_curve curve;
    cmp_spread final, speed;
    double per_token, per_token_computed, per_token_cached; /* training FLOPs */
    double budget;                                          /* tokens at which `final` stands */
    /* against the baseline, for every arm but it */
    double *pair; /* arm - baseline, of the seeds in pair_seed */
    int64_t *pair_seed;
    int n_pair;
    cmp_spread difference;
    double low, high;   /* 95 % interval of the mean difference (Student's t); NaN: fewer than 2 */
    cmp_crossing equal; /* the arm reaches the baseline's final loss */
    cmp_crossing reverse; /* the baseline reaches the arm's */
} cmp_arm;

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const char *metric; /* "val_loss", or another number of the evaluation lines */
    const char *at;     /* NULL: every run's own end; "common", or tokens */
    bool force;         /* also with different validation data */
    cmp_arm *arm;
    int n_arm, cap_arm;
    int baseline;
    const char **note;
    int n_note, cap_note;
} comparison;

/* ---- compare_read.c ---- */
/* Adds a run to the arm `name`, or, without one, to the arm of runs of its recipe, settings and
 * model. */
weft_status compare_add(comparison *k, const char *name, const char *dir);
weft_status compare_check_data(comparison *k);
weft_status compare_note(comparison *k, const char *fmt, ...) WEFT_PRINTF(2, 3);
void compare_close(comparison *k); /* frees what is not in the arena */

/* The changes of settings that its log tells, into the setup of a run. */
weft_status compare_read_changes(comparison *k, const char *dir, cmp_setup *s);

/* ---- compare_setup.c ---- */
/* Value of "name=..." in settings, in arena memory; NULL if it is not there. */
const char *compare_setting(weft_arena *a, const char *settings, const char *name);
/* `path`: where the recipe was read. compare_setup_free also after a failure. */
weft_status compare_setup_read(comparison *k, weft_recipe *r, const char *path, cmp_setup *out);
void compare_setup_free(cmp_setup *s);
/* One more of its settings: the value that a setting had until a step, when the run went on with
 * another one. Nothing where that makes no other experiment. */
weft_status compare_setup_change(comparison *k, cmp_setup *s, const char *name, int64_t step,
                                 const char *was);
/* What the settings say of `name`, else the model's value of this parameter; NULL: neither. */
const char *compare_value(comparison *k, const cmp_setup *s, const char *name);
/* Settings that make another experiment of a than of b; `also`: one more that does not. */
weft_status compare_settings(comparison *k, const cmp_setup *a, const cmp_setup *b,
                             const char *also, cmp_differences *out);
/* Would a's model, with b's parameters, compute what b's does? */
weft_status compare_models(comparison *k, const cmp_setup *a, const cmp_setup *b, bool *same);
/* "d (48, 32), mix (1, none)", in arena memory. */
const char *compare_list(comparison *k, const cmp_differences *d);

/* ---- compare_name.c ---- */
/* Names of arms that came without: the recipe's, with all settings in which it differs from any
 * other arm of that recipe. */
weft_status compare_name_arms(comparison *k);

/* ---- compare_math.c ---- */
cmp_spread compare_spread(const double *x, int n);
/* Loss of a run at a number of tokens, between evaluations on a straight line; NaN outside. */
double compare_at(const cmp_run *r, double tokens);
weft_status compare_check_at(comparison *k); /* USAGE unless k->at is "common" or tokens */
weft_status compare_compute(comparison *k);

/* ---- how it is said ---- */
void compare_print(const comparison *k, FILE *f);
void compare_json(const comparison *k, FILE *f);
void compare_markdown(const comparison *k, FILE *f);
void compare_svg(const comparison *k, FILE *f);
/* "1.23M": three digits and a unit. */
const char *compare_short(char *buf, size_t n, double v);

/* ---- compare_train.c ---- */
typedef struct {
    const char *out, *seeds;
    const cli_list *set;
    bool quiet;
} compare_training;
typedef struct cmp_planned cmp_planned;
typedef struct {
    cmp_planned *run;
    int n, cap;
} compare_plan;
/* The runs of n words "[NAME=]RECIPE[,NAME=VALUE]...", each once per seed in OUT/NAME-SEED. Nothing
 * is trained, but all is tried that training would fail on before its first step, and a run that is
 * there must be of the same recipe. Makes the arms, still without runs. */
weft_status compare_plan_runs(comparison *k, const compare_training *o, int n, char **word,
                              compare_plan *plan);
/* Trains them, going on where a run was stopped, and adds them to their arms. */
weft_status compare_train(comparison *k, const compare_training *o, const compare_plan *plan);

#endif
