/* measure.h - weft steer --measure: texts drawn at several steering strengths, and what judges that
 * are not steered say of them. */
#ifndef WEFT_TOOLS_MEASURE_H
#define WEFT_TOOLS_MEASURE_H

#include "graph/util.h"
#include "tools/tokens.h"
#include "tools/verbs.h"

enum { MEASURE_MAX = 64 }; /* concepts; strengths */

/* As on the command line; {0} where a default is taken from the model. */
typedef struct {
    const char *concept, *how, *strengths, *at, *on;
    const char *data, *prompt, *tokenizer, *svg;
    const char *judge, *active; /* NULL: the default, if the model has it */
    int64_t prompts, prompt_tokens, tokens, k, show;
    weft_generate_options draw; /* temperature, top_k, top_p, seed */
    int64_t seed;
    bool json, quiet;
} measure_options;

/* What is measured of the generated tokens of a text; NaN: there is no judge for it. */
typedef enum {
    MEASURE_STUDENT,    /* mean negative log-likelihood by the unsteered model, nats */
    MEASURE_TEACHER,    /* by the extractor */
    MEASURE_ACTIVE,     /* share of tokens at which the extractor has the concept active */
    MEASURE_ACTIVATION, /* its mean activation, zeros counted */
    MEASURE_PREDICTED,  /* share at which it is one of the unsteered model's k largest */
    MEASURE_KEPT,       /* share at which it is one of the steered model's k largest */
    MEASURE_DISTINCT,   /* different pairs of neighbours among all pairs */
    MEASURES
} measure_kind;

/* One strength: measures are means over texts, `error` their standard errors. */
typedef struct {
    bool plain; /* not steered */
    double strength;
    double mean[MEASURES], error[MEASURES];
    double change[MEASURES], change_error[MEASURES]; /* against the unsteered text of each prompt */
    double *each;                                    /* [prompts][MEASURES] */
    int32_t *text;                                   /* [prompts][length] prompt and continuation */
} measure_row;

typedef struct {
    int64_t id;
    measure_row *row; /* [n_strength + 1]; row 0 is unsteered */
} measure_concept;

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_trained *trained;
    const char *path;
    measure_options o;
    weft_where where;
    cli_tokens tokens;
    int64_t length, first; /* tokens of a text; of them the prompt's */
    int32_t *prompt;       /* [prompts][first] */
    double strength[MEASURE_MAX];
    int n_strength;
    measure_concept concept[MEASURE_MAX];
    int n_concept;
    bool has_teacher, has_active, has_activation; /* which judges there are */
} measurement;

/* weft steer --measure; `c` is told what went wrong. Returns the exit code. */
int measure_run(weft_ctx *c, weft_trained *t, const char *path, const measure_options *o);

/* ---- measure_judge.c ---- */
typedef struct measure_judge measure_judge;
/* Compiles the unsteered model and, where the model and its files have it, the extractor over texts
 * of m->length tokens, and reads the weights. Settles m->o.k and m->has_... */
weft_status measure_judge_open(measurement *m, measure_judge **out);
void measure_judge_close(measure_judge *j);
/* From now on it judges this concept, and the model steered by `how` (an intervention that is fed
 * by "dose", NULL: unsteered). */
weft_status measure_judge_concept(measure_judge *j, int64_t id, const weft_intervention *how);
/* All measures of one text; `steered`: at this strength, else as unsteered. */
weft_status measure_judge_text(measure_judge *j, const int32_t *text, int64_t number, bool steered,
                               double strength, double out[MEASURES]);

/* ---- measure_print.c, measure_svg.c ---- */
weft_status measure_print(measurement *m, FILE *f);
weft_status measure_json(measurement *m, FILE *f);
void measure_svg(const measurement *m, FILE *f);

#endif
