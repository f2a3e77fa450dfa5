/* fuzz_checkpoint.c - checkpoints: read as they are, and once more with a manifest whose hashes
 * hold, so that what lies behind these is reached; loaded into the session of a small training.
 *
 * Parts: manifest.json, model.safetensors, optimizer.safetensors, config.json. An empty input saves
 * a checkpoint, which must load. */
#include "graph/checkpoint.h"
#include "graph/hash.h"
#include "tests/fuzz/fuzz.h"

#define STEP "run/checkpoints/step-000003/"

static const char model[] =
    "main: \"m\"\n"
    "module { name: \"m\"\n"
    "  input { name: \"x\" type: \"f32[2]\" }\n"
    "  weight { name: \"a\" type: \"f32[2]\" init: \"ones\" }\n"
    "  weight { name: \"b\" type: \"f32[]\" init: \"ones\" trainable: false }\n"
    "  weight { name: \"count\" type: \"i32[]\" trainable: false }\n"
    "  node { op: \"mul\" in: [\"a\", \"x\"] out: \"y\" }\n"
    "  node { op: \"mul\" in: [\"y\", \"b\"] out: \"z\" }\n"
    "  node { op: \"sum\" in: \"z\" out: \"loss\" }\n"
    "  node { op: \"increment\" in: \"count\" out: \"next\" }\n"
    "  output: \"loss\"\n"
    "}\n";

/* Its states are those of a training. */
static weft_session *make_session(weft_ctx *c)
{
    weft_model *m;
    weft_graph *g;
    weft_recipe *r;
    weft_session *s;
    weft_program *micro, *step;
    fuzz_file("model.txtpb", model, sizeof model - 1);
    FUZZ_REQUIRE(
        !weft_model_load(c, "model.txtpb", NULL, 0, &m) && !weft_graph_expand(m, &g) &&
            !weft_recipe_default(c, "loss", &r) && !weft_session_new(c, false, &s) &&
            !weft_session_add_states(s, g) &&
            !weft_recipe_compile(r, g, s, &(weft_compile_options){.train = true}, &micro, &step) &&
            !weft_session_init(s, 1),
        "%s", weft_error(c));
    weft_recipe_free(r);
    weft_graph_free(g);
    weft_model_free(m);
    return s;
}

static void load(weft_ctx *c, weft_session *s, const char *path)
{
    weft_progress p;
    weft_arena *a = weft_arena_new(c, 0);
    const char *folder;
    fuzz_done(c, weft_checkpoint_load(c, path, s, false, &p));
    fuzz_done(c, weft_checkpoint_load(c, path, s, true, NULL));
    fuzz_done(c, weft_weights_find(a, "run", &folder));
    for (int i = 0; i < s->n_state; i++)
        s->state[i].ready = false;
    fuzz_done(c, weft_weights_load(s, "run", NULL));
    weft_arena_free(a);
}

/* As a run that goes on opens it; what it then saves is the newest good one. */
static void go_on(weft_ctx *c, weft_session *s)
{
    weft_run_dir *d;
    weft_progress p = {.step = 5, .config = "{}\n"};
    const char *path;
    if (!fuzz_done(c, weft_run_dir_open(c, "run", &d)))
        return;
    fuzz_done(c, weft_checkpoint_latest(d, &path, &p));
    FUZZ_REQUIRE(!weft_session_init(s, 1), "%s", weft_error(c));
    p = (weft_progress){.step = 7, .config = "{}\n"};
    if (fuzz_done(c, weft_checkpoint_save(d, s, &p, 2))) {
        weft_status st = weft_checkpoint_latest(d, &path, &p);
        FUZZ_REQUIRE(st == WEFT_NOMEM || (!st && p.step == 7), "%s", weft_error(c));
        fuzz_done(c, st);
        if (!st)
            FUZZ_REQUIRE(!weft_checkpoint_load(c, path, s, false, NULL), "%s", weft_error(c));
    }
    weft_run_dir_close(d);
}

/* ---- a manifest whose hashes hold ---- */
/* Size and hash behind "NAME": {"bytes": N, "hash": "H"}, in place as far as the digits are there.
 */
static void mend_file(char *text, const fuzz_part *p)
{
    char key[96], value[64];
    snprintf(key, sizeof key, "\"%.47s\": {\"bytes\": ", p->name);
    char *at = strstr(text, key);
    if (!at)
        return;
    at += strlen(key);
    size_t digits = strspn(at, "0123456789");
    if (snprintf(value, sizeof value, "%zu", p->n) != (int)digits)
        return;
    memcpy(at, value, digits);
    at += digits;
    if (strncmp(at, ", \"hash\": \"", 11) || strspn(at + 11, "0123456789abcdef") < 16)
        return;
    snprintf(value, sizeof value, "%016llx", (unsigned long long)weft_xxh64_of(p->data, p->n, 0));
    memcpy(at + 11, value, 16);
}

static void mend(const fuzz_part *part, int n)
{
    enum { TAIL = 31 }; /* as manifest.c writes it */
    char tail[TAIL + 1];
    const fuzz_part *m = fuzz_find(part, n, "manifest.json");
    if (!m || m->n <= TAIL)
        return;
    char *text = calloc(m->n + 1, 1);
    FUZZ_REQUIRE(text, "no memory");
    memcpy(text, m->data, m->n);
    for (int i = 0; i < n; i++)
        if (&part[i] != m)
            mend_file(text, &part[i]);
    snprintf(tail, sizeof tail, "  \"hash\": \"%016llx\"\n}\n",
             (unsigned long long)weft_xxh64_of(text, m->n - TAIL, 0));
    memcpy(text + m->n - TAIL, tail, TAIL);
    fuzz_file(STEP "manifest.json", text, m->n);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    fuzz_part part[FUZZ_PARTS];
    int parts = fuzz_split(data, n, "manifest.json", part);
    weft_ctx *c = fuzz_open((size_t)64 << 20, true);
    fuzz_files(STEP, part, parts);
    weft_session *s = make_session(c);
    if (parts)
        load(c, s, "run/checkpoints/step-000003");
    mend(part, parts);
    if (parts)
        load(c, s, "run/checkpoints/step-000003");
    go_on(c, s);
    weft_session_free(s);
    fuzz_close(c);
    return 0;
}
