/* names.h - name maps (proto/names.proto): which tensor of a file is which weight of a model, and
 * what the file's description says in terms of the model's parameters. The maps are data; nothing
 * here knows a format but safetensors. */
#ifndef WEFT_NAMES_H
#define WEFT_NAMES_H

#include "graph/expr.h"
#include "graph/json.h"
#include "graph/load.h"
#include "graph/safetensors.h"
#include "names.pb-c.h"

typedef struct {
    weft_arena *arena;
    const char *label; /* for messages */
    const Weft__Names *msg;
    weft_lines *lines;
} weft_names;

/* A shipped map by its name, or a file of the user's: a path with a '/' or the suffix .txtpb or
 * .binpb. USAGE for an unknown name, MALFORMED with the line for a rule that makes no sense. All
 * memory is a's. */
weft_status weft_names_load(weft_arena *a, const char *name, weft_names *out);

/* Does `pattern` with at most one '*' (one character or more, no dot) fit? *star is then what it
 * stands for, in [begin, begin + n); n = 0 without '*'. */
bool weft_names_fit(const char *pattern, const char *name, const char **star, size_t *n);
/* `pattern` with its '*' replaced. */
const char *weft_names_fill(weft_arena *a, const char *pattern, const char *star);

/* Below which prefix would the model's name be the first tensor of the map? The shorter of this one
 * and *prefix (NULL: none yet) is kept in *prefix; it is "" or ends in a dot. */
weft_status weft_names_prefix(weft_arena *a, const weft_names *names, const char *name,
                              const char **prefix);

/* ---- matching ---- */
/* A tensor that takes part, on the side that is read. */
typedef struct {
    const Weft__Rule *rule;
    int number;       /* of the rule */
    const char *star; /* what '*' stands for, or NULL */
    int64_t layer;    /* the same as a number, or -1 */
    weft_tensor_file *file;
    const weft_tensor_entry *entry;
    const char *name; /* on the side that is written, without prefix */
} weft_match_item;

/* Names of one kind for a report: all are counted, the first few kept, as many as leave room for
 * the other kinds in the message of a context. */
typedef struct {
    int n, shown;
    weft_string text;
} weft_name_list;
enum { WEFT_NAMES_SHOWN = 20, WEFT_NAMES_BYTES = 2000 };
void weft_name_list_add(weft_name_list *l, const char *name, const char *more);
/* "3 missing: a, b, c", "21 missing: a, ..., t and 1 more" as a line of context of the error. */
void weft_name_list_note(weft_ctx *c, const char *what, const weft_name_list *l);

typedef struct {
    weft_ctx *ctx;
    weft_arena *arena;
    const weft_names *names;
    bool reverse;       /* the model's names are read: export */
    const char *prefix; /* before the model's names */
    const char *from;   /* names the source in messages */
    const char *dtype;  /* what "@dtype" in a map means */
    weft_match_item *item;
    int n, cap;
    weft_map *seen;             /* name that is read, without prefix -> item */
    int ignored, tied, outside; /* tensors skipped: as no weights, as copies, as other scopes' */
    const Weft__Form *form;     /* that was taken on reading */
    weft_params params;         /* sizes and parameters known so far, with their origin */
    int64_t bos, eos;           /* what "@bos" and "@eos" in a map mean; -1: not known */
    const char *eos_list;       /* "[511, 3]" where several end a text, of which eos is the first */
    int64_t n_ids;              /* ids are below it, by the form; 0: not known */
    bool asked_ids;             /* the form has fields for them, which were read */
    weft_name_list missing, extra, misshapen;
} weft_match;

/* Strings of m's lists need weft_match_free, whatever happens in between. */
void weft_match_init(weft_match *m, weft_arena *a, const weft_names *names, bool reverse,
                     const char *prefix, const char *from);
void weft_match_free(weft_match *m);
/* One tensor of the source. MISMATCH when another one is for the same weight. */
weft_status weft_match_add(weft_match *m, weft_tensor_file *file, const weft_tensor_entry *e);
/* After all tensors: lets a copy stand for the tensor that is not there, sorts the items, checks
 * shapes, finds what is missing. MISMATCH with the lists
 * of what does not fit. */
weft_status weft_match_finish(weft_match *m);
/* A parameter that something says: kept, or MISMATCH when it is known with another value. */
weft_status weft_match_bind(weft_match *m, const char *name, double value, const char *origin);

/* ---- the description beside the weights ---- */
/* Where keys are looked up: a JSON object, or the __metadata__ of a file. */
typedef struct {
    const char *label;
    const weft_json *json;
    const weft_tensor_file *meta;
    const char *settings_label; /* and fields that are settings here; NULL: nowhere */
    const weft_json *settings;
} weft_description;
/* Takes the first form that holds, checks it and binds its parameters. UNSUPPORTED: the model
 * cannot be expressed, with the reason. */
weft_status weft_names_read(weft_match *m, const weft_description *d);
/* After all that tells parameters: binds what the form assumes of those left, or takes the form
 * that suits what was told instead. *note is what to say of a guess that decided, or NULL. */
weft_status weft_names_assume(weft_match *m, const char **note);

/* Are the parameters of the form (without one of the first) within the bounds of their fields?
 * Those that --set told, too. MISMATCH with what was found and expected. */
weft_status weft_names_bounds(const weft_match *m);

typedef struct {
    const char *key, *value; /* JSON text */
} weft_key_value;
/* The keys and values of the first form that suits the parameters; `extra`: "key=value" texts of
 * the user that replace or add keys. USAGE names a parameter that is not known. */
weft_status weft_names_write(weft_match *m, const char *const *extra, int n_extra,
                             weft_key_value **out, int *n);
/* Those of the same form that are settings. */
weft_status weft_names_write_settings(weft_match *m, weft_key_value **out, int *n);
/* token_ids.c: one id or a list in the file `label`. Warns of those that are none below `below` (0:
 * not known) and leaves them out. *first -1: there is none; *list: "[511, 3]", in a's memory, or
 * NULL if there is but one. */
weft_status weft_ids_read(weft_arena *a, const char *label, const char *key, const weft_json *j,
                          int64_t below, int64_t *first, const char **list);
weft_status weft_ids_parse(weft_arena *a, const char *label, const char *key, const char *text,
                           int64_t below, int64_t *first, const char **list);
/* As JSON. NULL: NOMEM. */
const char *weft_ids_text(weft_arena *a, int64_t first, const char *list);

struct weft_graph;
typedef struct {
    int64_t batch, length, vocab;
    int64_t bos, eos;     /* ids of the tokens that begin and end a text; -1: not known */
    const char *eos_list; /* as JSON where several end it, or NULL */
} weft_config_facts;
/* config.json of a checkpoint of g: the keys of the first shipped map that fits its trainable
 * weights, if one does; then module, batch, length, the ids under "tokens" and the parameters under
 * "parameters". *out is arena memory. */
weft_status weft_config_make(weft_arena *a, const struct weft_graph *g, const weft_config_facts *f,
                             const char **out);
/* As an indented JSON object; keys with one dot become objects of objects. */
void weft_names_json(weft_string *s, const weft_key_value *kv, int n);
/* The settings in `folder` or the folder above, as an object; *out stays NULL without such a
 * file. MALFORMED for a key twice. */
weft_status weft_settings_read(weft_arena *a, const char *folder, const char *name,
                               const char **path, weft_json **out);
void weft_settings_text(weft_string *s, const weft_key_value *kv, int n);
/* "12", "0.1", "1e-05": a parameter as JSON and --set write it. */
const char *weft_names_number(char *buf, size_t n, double v);

#endif
