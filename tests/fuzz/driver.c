/* driver.c - runs a fuzz target where libFuzzer is missing: replays files and folders, then mutates
 * them, the same way every time.
 *
 *   fuzz_TARGET [-runs=N] [-seed=S] FILE|FOLDER...
 *
 * A file may be absent: a target without a corpus begins with nothing. What was being run when the
 * process dies is written to fuzz_TARGET.finding, to be passed again. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/fuzz.h"

enum { MOST = 4096, LARGEST = 65536, SECONDS = 120 };

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed)
    __attribute__((weak));
size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

typedef struct {
    uint8_t *data;
    size_t n;
} input;

static input corpus[MOST];
static int n_corpus;
static uint64_t state;
static const uint8_t *now;
static size_t n_now;
static char finding[512];

/* ---- findings ---- */
static void keep_finding(void)
{
    int fd = open(finding, O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (fd >= 0 && write(fd, now, n_now) == (ssize_t)n_now)
        fprintf(stderr, "the input is in %s\n", finding);
}

static void on_signal(int sig)
{
    signal(sig, SIG_DFL);
    if (sig == SIGALRM)
        fprintf(stderr, "still running after %d seconds\n", SECONDS);
    keep_finding();
    raise(sig);
}

static void run(const uint8_t *data, size_t n)
{
    uint8_t *exact = malloc(n ? n : 1); /* so that sanitizers see a byte beyond the end */
    FUZZ_REQUIRE(exact, "no memory");
    if (n)
        memcpy(exact, data, n);
    now = exact;
    n_now = n;
    alarm(SECONDS);
    LLVMFuzzerTestOneInput(exact, n);
    free(exact);
}

/* ---- the corpus ---- */
static void add_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data = malloc(LARGEST);
    FUZZ_REQUIRE(data && n_corpus < MOST, "too many files");
    if (!f) {
        perror(path);
        exit(66);
    }
    corpus[n_corpus++] = (input){data, fread(data, 1, LARGEST, f)};
    fclose(f);
}

static int in_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void add(const char *path)
{
    struct stat st;
    char *name[MOST], full[4096];
    int n = 0;
    DIR *d = !stat(path, &st) && S_ISDIR(st.st_mode) ? opendir(path) : NULL;
    if (!d) {
        add_file(path);
        return;
    }
    for (struct dirent *e; (e = readdir(d)) && n < MOST;)
        if (*e->d_name != '.')
            name[n++] = strdup(e->d_name);
    closedir(d);
    qsort(name, (size_t)n, sizeof *name, in_order);
    for (int i = 0; i < n; i++) {
        snprintf(full, sizeof full, "%s/%s", path, name[i]);
        add_file(full);
        free(name[i]);
    }
}

/* ---- mutation ---- */
static uint64_t next(void)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele et al., 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static size_t below(size_t n) { return n ? (size_t)(next() % n) : 0; }

/* Puts k bytes of `from` in the place of `gone` bytes at `at`. */
static size_t replace(uint8_t *data, size_t n, size_t most, size_t at, size_t gone,
                      const uint8_t *from, size_t k)
{
    uint8_t copy[256];
    k = k < sizeof copy ? k : sizeof copy;
    if (n - gone + k > most)
        return n;
    memcpy(copy, from, k);
    memmove(data + at + k, data + at + gone, n - at - gone);
    memcpy(data + at, copy, k);
    return n - gone + k;
}

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most)
{
    static const uint8_t special[] = "\0\1\x7f\x80\xff\n\"\\{}[]:,-.0123456789";
    size_t at = below(n + 1), some = 1 + below(8);
    some = some < n - at ? some : n - at;
    const input *other = &corpus[below((size_t)n_corpus)];
    size_t from = below(other->n + 1);
    uint64_t random = next();
    switch (below(7)) {
    case 0: /* a bit */
        if (at < n)
            data[at] ^= (uint8_t)(1u << below(8));
        return n;
    case 1: /* a byte that means something */
        if (at < n)
            data[at] = special[below(sizeof special - 1)];
        return n;
    case 2:
        return replace(data, n, most, at, some, data, 0);
    case 3:
        return replace(data, n, most, at, 0, (const uint8_t *)&random, 1 + below(8));
    case 4:
        return replace(data, n, most, at, 0, data + at, some);
    case 5:
        return replace(data, n, most, at, some, other->data + from, below(other->n - from + 1));
    default:
        return below(8) ? n : at; /* the end is missing */
    }
}

static void mutate_one(void)
{
    static uint8_t data[LARGEST];
    const input *x = &corpus[below((size_t)n_corpus)];
    size_t n = x->n;
    if (n)
        memcpy(data, x->data, n);
    for (size_t k = 1 + below(6); k; k--)
        n = LLVMFuzzerCustomMutator && below(4)
                ? LLVMFuzzerCustomMutator(data, n, LARGEST, (unsigned)next())
                : LLVMFuzzerMutate(data, n, LARGEST);
    run(data, n);
}

int main(int argc, char **argv)
{
    long runs = 0;
    const char *slash = strrchr(argv[0], '/');
    snprintf(finding, sizeof finding, "%s.finding", slash ? slash + 1 : argv[0]);
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], on_signal);
    if (__sanitizer_set_death_callback)
        __sanitizer_set_death_callback(keep_finding);
    for (int i = 1; i < argc; i++)
        if (!strncmp(argv[i], "-runs=", 6))
            runs = atol(argv[i] + 6);
        else if (!strncmp(argv[i], "-seed=", 6))
            state = strtoull(argv[i] + 6, NULL, 10);
        else
            add(argv[i]);
    if (!n_corpus)
        corpus[n_corpus++] = (input){calloc(1, 1), 0};
    for (int i = 0; i < n_corpus; i++)
        run(corpus[i].data, corpus[i].n);
    for (long i = 0; i < runs; i++)
        mutate_one();
    printf("%d files, %ld mutations\n", n_corpus, runs);
    for (int i = 0; i < n_corpus; i++)
        free(corpus[i].data);
    return 0;
}
