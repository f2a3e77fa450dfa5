/* concepts.h - what a model's concepts are: values of width n_concept, looked at over a text or a
 * corpus, and what their decoder columns do to the tokens. */
#ifndef WEFT_TOOLS_CONCEPTS_H
#define WEFT_TOOLS_CONCEPTS_H

#include "graph/data.h"
#include "tools/tokens.h"
#include "tools/verbs.h"

enum { CONCEPT_BINS = 24, CONCEPT_NAME = 96, MAX_EFFECTS = 2, MAX_HITS = 64 };

/* A decoder, one column a concept, and the token embedding that it writes towards. */
typedef struct {
    const char *who;      /* "model", "extractor" */
    const float *decoder; /* [d,n] */
    const float *embed;   /* [vocab,d] */
    double *mean;         /* [d] of the embedding's rows: logits count from the average token */
    int64_t d, n, vocab;
} concept_effect;

typedef struct {
    int32_t id;
    float value;
} concept_value;

typedef struct {
    float value;
    int32_t token; /* the marked one */
    int64_t at;    /* its place in the token file */
} concept_hit;

typedef struct {
    int64_t count, labels, both; /* tokens at which it is active, a label, active and a label */
    double sum;                  /* of its activations */
    float max;
    uint32_t bin[CONCEPT_BINS];
} concept_stats;

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    weft_trained *trained;
    weft_session *session;
    cli_tokens tokens;
    const char *path;
    /* what is looked at: options, then as found */
    const char *concept_name, *label_name, *score_name, *decoder_name, *embed_name;
    int64_t k;             /* activations of a token that count */
    int64_t n, k_label;    /* concepts; labels of a token, 0: none */
    int64_t label_ids;     /* labels are below it, 0: not known */
    int64_t length, vocab; /* tokens of a window at most; ids */
    concept_effect effect[MAX_EFFECTS];
    int n_effect;
    bool need_labels; /* asked for: without them there is no answer */
    bool bare;        /* without labels, and so without the extractor's weights */
} concepts;

/* ---- concepts_model.c ---- */
/* A program over windows of one size, and its views: fed with tokens, it gives concept values
 * [batch,length,n] and, unless NULL, labels and scores [batch,length,k_label]. */
typedef struct {
    weft_program *program;
    int64_t batch, length;
    int32_t *text;    /* [batch,length] tokens, to fill before a run; kept, as feeds are not */
    int32_t *targets; /* to fill before a run; NULL: not needed */
    const float *value;
    const int32_t *label;
    const float *score;
} concept_window;

/* Opens, reads the weights, finds sizes, decoders and embeddings. Where the extractor's files are
 * missing it warns and goes without labels, unless these were asked for. */
weft_status concepts_open(concepts *m, const char *path, const char *weights, const cli_list *set,
                          const char *tokenizer);
void concepts_close(concepts *m);
/* Compiles; `labels`: with labels, where the model has them. */
weft_status concepts_compile(concepts *m, int64_t batch, int64_t length, bool labels,
                             concept_window *out);
weft_status concepts_run(concepts *m, concept_window *w, int64_t number);
/* The k largest values of a row [n], descending, without zeros; equal ones by id. Returns how
 * many. */
int concepts_top(const float *row, int64_t n, int k, concept_value *out);
/* The tokens that a concept raises most (sign 1) or lowers most (-1). Returns how many. */
int concepts_promoted(const concept_effect *e, int64_t id, int sign, int k, concept_value *out);
double concepts_norm(const concept_effect *e, int64_t id);
/* A token as one printable word; without a tokenizer "#id". */
const char *concepts_word(const concepts *m, int32_t id, char *buf, size_t n);

/* ---- concepts_scan.c ---- */
typedef struct {
    const char *data;
    int64_t limit; /* tokens at most; 0: all whole batches */
    int64_t only;  /* contexts of this concept alone; -1: of all */
    int hits;      /* contexts kept of each */
    bool by_label; /* activations are the scores of labels */
    bool quiet;
    /* results */
    int64_t done; /* tokens looked at */
    weft_tokens *file;
    int64_t length;       /* of a window: contexts do not reach over its start */
    double low, high;     /* range of the histograms; what lies outside is in the outer bins */
    concept_stats *stats; /* [n] */
    concept_hit *hit;     /* [n][hits], or [hits] for `only`; value descending */
    int *n_hit;           /* [n], or one */
    int64_t found, found_k, labels; /* labels among the k_label and the k best predictions; all */
} concept_scan;

weft_status concepts_scan(concepts *m, concept_scan *s);
void concepts_scan_close(concept_scan *s);
const concept_hit *concepts_hits(const concept_scan *s, int64_t id, int *n);
/* "the" "of": the tokens at which a concept is most active; else those that it promotes. */
const char *concepts_title(const concepts *m, const concept_scan *s, int64_t id, char *buf,
                           size_t n);
/* Text around a hit: up to `before` and `after` tokens, inside its window. */
weft_status concepts_context(const concepts *m, const concept_scan *s, const concept_hit *h,
                             int before, int after, weft_string *left, weft_string *right);

/* ---- concepts_list.c ---- */
typedef enum { BY_DENSITY, BY_MEAN, BY_MAX, BY_NORM, BY_LABELS, N_ORDER } concept_order;
/* All concepts, the best first; NULL: out of memory. */
int32_t *concepts_sorted(const concepts *m, const concept_scan *s, concept_order by);
weft_status concepts_list(const concepts *m, const concept_scan *s, concept_order by, int n,
                          bool json);
weft_status concepts_show(const concepts *m, const concept_scan *s, int64_t id, bool colour,
                          bool json);

/* ---- concepts_text.c ---- */
weft_status concepts_text(concepts *m, const concept_scan *s, const char *text, size_t n, int show,
                          bool colour, bool json);

/* ---- concepts_html.c ---- */
weft_status concepts_html(const concepts *m, const concept_scan *s, concept_order by, int64_t limit,
                          const char *path);
extern const char concepts_page_head[], concepts_page_tail[];

#endif
