/* test_read_faults.c - a reading call that fails once (EIO, EMFILE, EACCES, ENFILE, ENOMEM), at
 * each call in turn of the verbs that read: what comes out is what comes out undisturbed, or exit
 * code 74 (71 for memory, 73 for a place to write to without rights); never another result, and
 * never "not there". */
#include "tests/store.h"

#include "graph/data.h"
#include "tools/verbs.h"

#if defined(__SANITIZE_ADDRESS__)
#define STRIDE 7
#else
#define STRIDE 1
#endif

/* A verb, what it is told, what is put in place before it, and the files that it makes. */
typedef struct {
    int (*verb)(weft_ctx *c, int argc, char **argv);
    const char *args[16], *before, *made[3];
    int every; /* slow ones: only each so many-th call; 0: all of them */
} job;

static const char gpt2[] =
    "name: \"gpt\" model: \"" WEFT_SOURCE_DIR "/models/gpt2.txtpb\"\n"
    "set: [\"n_layer=1\", \"n_head=2\", \"d=8\", \"vocab=300\", \"ctx=16\"]\n"
    "data { train: \"tokens.bin\" val: \"tokens.bin\" tokenizer: \"tok.json\" }\n"
    "train { steps: 4 batch: 2 length: 16 } eval { every: 2 batches: 1 } checkpoint { every: 2 }\n";
static const char cocomix[] =
    "name: \"mix\" model: \"" WEFT_SOURCE_DIR "/models/cocomix.txtpb\"\n"
    "set: [\"n_layer=2\", \"n_head=2\", \"d=8\", \"vocab=300\", \"ctx=16\", \"insert=1\","
    " \"n_concept=12\", \"k=4\", \"k_label=2\", \"t_layer=2\", \"t_head=2\", \"t_d=8\","
    " \"t_ctx=16\", \"t_tap=1\"]\n"
    "data { train: \"tokens.bin\" val: \"tokens.bin\" tokenizer: \"tok.json\" }\n"
    "train { steps: 2 batch: 2 length: 16 } eval { every: 0 }\n";

static const job jobs[] = {
    {verb_export,
     {"export", "gpt", "--names=hf-gpt2", "--out=hf"},
     "rm -rf hf",
     {"hf/model.safetensors", "hf/config.json"},
     0},
    {verb_import, {"import", "ref", "--names=hf-gpt2", "--out=imp"}, "rm -f imp", {"imp"}, 0},
    {verb_eval, {"eval", "gpt", "--data=tokens.bin", "--batches=1", "--json"}, NULL, {NULL}, 0},
    {verb_generate, {"generate", "gpt", "--prompt=the", "--tokens=2", "--seed=3"}, NULL, {NULL}, 0},
    {verb_train,
     {"train", "gpt.txtpb", "--out=again", "--resume", "--steps=6", "--quiet"},
     "rm -rf again && cp -r gpt again",
     {"again/log.jsonl", "again/checkpoints/step-000006/model.safetensors",
      "again/checkpoints/step-000006/optimizer.safetensors"},
     2},
    {verb_compare, {"compare", "A=gpt", "B=more", "--json"}, NULL, {NULL}, 0},
    {verb_labels,
     {"labels", "mix.txtpb", "--out=labels", "--quiet"},
     "rm -f labels labels.tmp",
     {"labels"},
     5},
    {verb_concepts, {"concepts", "mix", "--text=the thread", "--json"}, NULL, {NULL}, 0},
    {verb_weights, {"weights", "gpt"}, NULL, {NULL}, 0},
    {verb_eval, {"eval", "ref", "--data=tokens.bin", "--batches=1", "--json"}, NULL, {NULL}, 0},
    {verb_generate, {"generate", "ref", "--ids", "--prompt=1 2", "--tokens=2"}, NULL, {NULL}, 0},
    {verb_check, {"check", "gpt.txtpb"}, NULL, {NULL}, 0},
    {verb_run,
     {"run", "gpt/model.txtpb", "--weights=gpt", "--fetch=loss", "--below=300"},
     NULL,
     {NULL},
     0},
    {verb_steer,
     {"steer", "mix", "--steer=3+1", "--out=steered"},
     "rm -rf steered",
     {"steered/model.safetensors", "steered/model.txtpb"},
     3},
    {verb_tokenize,
     {"tokenize", "encode", "--tokenizer=tok.json", "--out=enc", "--val=0", "text"},
     "rm -rf enc",
     {"enc/train.bin", "enc/val.bin", "enc/tokenizer.json"},
     0},
    {verb_show, {"show", "gpt/recipe.txtpb", "--stage=expanded"}, NULL, {NULL}, 0},
};

/* ---- running a verb in this process ---- */
static int redirect(int fd, const char *path)
{
    int saved = dup(fd), to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    assert_true(saved >= 0 && to >= 0);
    dup2(to, fd);
    close(to);
    return saved;
}

static void restore(int fd, int saved)
{
    dup2(saved, fd);
    close(saved);
}

static void keep_error(void *user, const char *line)
{
    (void)user;
    fprintf(stderr, "%s\n", line);
}

static int run(const job *j, fault *f)
{
    char *argv[17];
    int argc = 0;
    for (; j->args[argc]; argc++)
        argv[argc] = (char *)(uintptr_t)j->args[argc];
    argv[argc] = NULL;
    if (j->before)
        assert_int_equal(system(j->before), 0);
    for (int i = 0; i < 3 && j->made[i]; i++)
        assert_true(j->verb == verb_train || access(j->made[i], F_OK));
    weft_io io = fault_table(f);
    fflush(stdout);
    int out = redirect(1, "out"), err = redirect(2, "err");
    weft_ctx *c = weft_open(&(weft_options){.io = &io, .log = keep_error});
    int code = j->verb(c, argc, argv);
    fflush(stdout);
    weft_close(c);
    restore(1, out);
    restore(2, err);
    return code;
}

/* ---- what comes out ---- */
/* Numbers of the clock are no results. */
static void blank_times(char *s)
{
    static const char *const keys[] = {"seconds\":", "_per_s\":", "_ns\":"};
    for (size_t k = 0; k < 3; k++)
        for (char *p = s; (p = strstr(p, keys[k]));)
            for (p += strlen(keys[k]); *p && !strchr(",}]", *p); p++)
                *p = '#';
}

/* Of all that a job makes, standard output included; the caller frees. */
static char *results(const job *j)
{
    char *all = malloc(1 << 20);
    size_t n = 0;
    const char *path[4] = {"out", j->made[0], j->made[1], j->made[2]};
    for (int i = 0; i < 4 && path[i]; i++) {
        size_t size;
        unsigned char *data = get_file(path[i], &size);
        for (size_t k = 0; k < size && n < (1 << 20) - 1; k++)
            all[n++] = data[k] ? (char)data[k] : '.'; /* one text, to be compared as such */
        free(data);
    }
    all[n] = 0;
    blank_times(all);
    return all;
}

/* The call number k fails. */
static void fails_well(const job *j, long k, int error, const char *want)
{
    fault f = {.fail_at = k, .kind = FAULT_ERROR, .error = error, .reads = 1};
    int code = run(j, &f);
    bool good = code == WEFT_IO || (code == WEFT_NOMEM && error == ENOMEM) ||
                (code == WEFT_CANTCREATE && error == EACCES); /* where it would write */
    if (code == WEFT_OK) {
        char *got = results(j);
        good = !strcmp(got, want);
        free(got);
    }
    if (!good) {
        print_error("%s %s: reading call %ld failed (%s): exit code %d\n", j->args[0], j->args[1],
                    k, strerror(error), code);
        assert_int_equal(system("cat err >&2"), 0);
    }
    assert_true(good);
}

static void test_every_reading_call(void **state)
{
    (void)state;
    static const int errors[] = {EIO, EMFILE, EIO, EACCES, EIO, ENFILE, EIO, ENOMEM};
    int n_error = 0;
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        fault none = {.reads = 1};
        int code = run(&jobs[i], &none);
        if (code)
            assert_int_equal(system("cat err >&2"), 0);
        assert_int_equal(code, WEFT_OK);
        assert_true(none.calls > 3);
        char *want = results(&jobs[i]);
        int stride = STRIDE * (jobs[i].every ? jobs[i].every : 1);
        for (long k = 1; k <= none.calls; k += stride)
            fails_well(&jobs[i], k, errors[n_error++ % 8], want);
        free(want);
    }
}

/* ---- two runs to read ---- */
static void must(const job *j)
{
    fault none = {0};
    int code = run(j, &none);
    if (code)
        assert_int_equal(system("cat err >&2"), 0);
    assert_int_equal(code, WEFT_OK);
}

static void write_tokens(void)
{
    unsigned short tokens[200];
    for (int i = 0; i < 200; i++)
        tokens[i] = (unsigned short)(i * i % 300);
    put_file("tokens.bin", tokens, sizeof tokens);
}

static int prepare(void **state)
{
    (void)state;
    assert_int_equal(chdir(fresh_dir()), 0);
    write_tokens();
    put_file("gpt.txtpb", gpt2, sizeof gpt2 - 1);
    put_file("mix.txtpb", cocomix, sizeof cocomix - 1);
    assert_int_equal(system("head -c 6000 " WEFT_SOURCE_DIR "/docs/design.md >text"), 0);
    must(&(job){verb_tokenize,
                {"tokenize", "train", "--vocab=300", "--out=tok.json", "text"},
                NULL,
                {NULL},
                0});
    must(&(job){verb_train, {"train", "gpt.txtpb", "--out=gpt", "--quiet"}, NULL, {NULL}, 0});
    must(&(job){verb_train,
                {"train", "gpt.txtpb", "--out=more", "--quiet", "--set=train.seed=2"},
                NULL,
                {NULL},
                0});
    must(&(job){verb_train, {"train", "mix.txtpb", "--out=mix", "--quiet"}, NULL, {NULL}, 0});
    must(&(job){verb_export, {"export", "gpt", "--names=hf-gpt2", "--out=ref"}, NULL, {NULL}, 0});
    return 0;
}

static int clear(void **state)
{
    (void)state;
    char here[128];
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir("/"), 0);
    remove_dir(here);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_reading_call)};
    return cmocka_run_group_tests(tests, prepare, clear);
}
