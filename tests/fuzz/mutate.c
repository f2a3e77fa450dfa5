/* mutate.c - changes of a model file that keep most of it valid: nodes by the registry of ops,
 * other names, other numbers, lines twice or not at all. */
#include "graph/ir.h"
#include "tests/fuzz/fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t n, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed);

static uint64_t state;

static size_t below(size_t n)
{
    uint64_t z = (state += 0x9e3779b97f4a7c15u); /* splitmix64 (Steele et al., 2014) */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (size_t)((z ^ (z >> 31)) % (n ? n : 1));
}

/* ---- the text ---- */
typedef struct {
    uint8_t *data;
    size_t n, most;
} text;

/* Puts k bytes in the place of `gone` bytes at `at`, if there is room. */
static void put(text *t, size_t at, size_t gone, const char *s, size_t k)
{
    if (t->n - gone + k > t->most)
        return;
    memmove(t->data + at + k, t->data + at + gone, t->n - at - gone);
    memcpy(t->data + at, s, k);
    t->n += k - gone;
}

typedef struct {
    size_t at, n; /* without the quotes */
} span;

enum { SPANS = 512 };

/* All strings in quotes. */
static int strings(const text *t, span *s)
{
    int n = 0;
    for (size_t i = 0; i < t->n && n < SPANS; i++) {
        if (t->data[i] != '"')
            continue;
        size_t from = ++i;
        while (i < t->n && t->data[i] != '"')
            i++;
        s[n++] = (span){from, i - from};
    }
    return n;
}

/* Strings that an `out:` or the `name:` of an input or a weight gives to a value. */
static int values(const text *t, const span *s, int n, span *out)
{
    int k = 0;
    for (int i = 0; i < n; i++) {
        size_t at = s[i].at;
        bool made = at >= 6 && !memcmp(t->data + at - 6, "out: \"", 6);
        bool given =
            at >= 15 && (!memcmp(t->data + at - 15, "input { name: \"", 14 + 1) ||
                         (at >= 16 && !memcmp(t->data + at - 16, "weight { name: \"", 16)));
        if (made || given)
            out[k++] = s[i];
    }
    return k;
}

static span a_line(const text *t)
{
    size_t at = below(t->n + 1), end;
    while (at && t->data[at - 1] != '\n')
        at--;
    for (end = at; end < t->n && t->data[end] != '\n';)
        end++;
    return (span){at, end - at + (end < t->n)};
}

/* ---- a new node ---- */
static size_t add_attrs(char *out, size_t most, const weft_op *op)
{
    static const char *const floats[] = {"0", "1", "0.5", "-2", "1e30"};
    static const char *const lists[] = {"0,1", "1,0", "0,2,1", "2,2", "4", "1,4", ""};
    size_t n = 0;
    out[0] = 0;
    for (int i = 0; op->attr[i].name; i++) {
        const weft_attr_def *a = &op->attr[i];
        if (!a->required && below(2))
            continue;
        n += (size_t)snprintf(out + n, most - n, " attr: \"%s=", a->name);
        if (a->kind == WEFT_ATTR_ENUM) {
            const char *c = a->choices;
            for (size_t skip = below(4); skip && strchr(c, '|'); skip--)
                c = strchr(c, '|') + 1;
            n += (size_t)snprintf(out + n, most - n, "%.*s\"", (int)strcspn(c, "|"), c);
        } else if (a->kind == WEFT_ATTR_INTS) {
            n += (size_t)snprintf(out + n, most - n, "%s\"", lists[below(7)]);
        } else if (a->kind == WEFT_ATTR_FLOAT) {
            n += (size_t)snprintf(out + n, most - n, "%s\"", floats[below(5)]);
        } else {
            n += (size_t)snprintf(out + n, most - n, "%d\"", (int)below(6) - 2);
        }
    }
    return n;
}

/* `node { op: ... in: [...] out: ... }` and an output, in front of the last brace. */
static void add_node(text *t, const span *value, int n_value)
{
    char line[2048];
    const weft_op *op = weft_op_at((int)below((size_t)weft_op_count()));
    size_t n = (size_t)snprintf(line, sizeof line, "node { op: \"%s\" in: [", op->name);
    for (int i = 0; i < weft_op_n_in(op) && i < 8 && n_value; i++) {
        const weft_port *p = &op->in[i];
        if ((p->kind & WEFT_INPUT_RNG) || ((p->kind & WEFT_OPTIONAL) && below(2)))
            break;
        span v = value[below(3) ? (size_t)n_value - 1 - below((size_t)n_value < 3 ? 1 : 3)
                                : below((size_t)n_value)];
        n += (size_t)snprintf(line + n, 200, "%s\"%.*s\"", i ? ", " : "",
                              (int)(v.n < 100 ? v.n : 100), (const char *)t->data + v.at);
    }
    unsigned name = (unsigned)below(100000);
    n += (size_t)snprintf(line + n, sizeof line - n, "] out: \"n%u\"", name);
    n += add_attrs(line + n, 500, op);
    n += (size_t)snprintf(line + n, sizeof line - n, " }\noutput: \"n%u\"\n", name);
    size_t at = t->n;
    while (at && t->data[at - 1] != '}')
        at--;
    put(t, at ? at - 1 : 0, 0, line, n);
}

static void change_string(text *t, const span *s, int n)
{
    static const char *const words[] = {"f32[2,3]", "f32[4]", "f32[]",   "i32[2]",    "bf16[4]",
                                        "axis=-1",  "0",      "1000000", "normal(1)", "x={i}",
                                        "2*3",      "n/0",    "T",       "",          "0-1"};
    if (!n)
        return;
    span x = s[below((size_t)n)];
    char with[256];
    size_t k;
    switch (below(3)) {
    case 0:
        k = (size_t)snprintf(with, sizeof with, "%s",
                             weft_op_at((int)below((size_t)weft_op_count()))->name);
        break;
    case 1:
        k = (size_t)snprintf(with, sizeof with, "%s", words[below(sizeof words / sizeof *words)]);
        break;
    default: {
        span y = s[below((size_t)n)];
        k = y.n < sizeof with ? y.n : sizeof with;
        memcpy(with, t->data + y.at, k);
    }
    }
    put(t, x.at, x.n, with, k);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t n, size_t most, unsigned seed)
{
    static span s[SPANS], v[SPANS];
    text t = {data, n, most};
    state = seed;
    int n_string = strings(&t, s), n_value = values(&t, s, n_string, v);
    span line = a_line(&t), to = a_line(&t);
    char copy[512];
    switch (below(6)) {
    case 0:
    case 1:
        add_node(&t, v, n_value);
        break;
    case 2:
        change_string(&t, s, n_string);
        break;
    case 3:
        put(&t, line.at, line.n, "", 0);
        break;
    case 4:
        if (line.n < sizeof copy) {
            memcpy(copy, data + line.at, line.n);
            put(&t, to.at, 0, copy, line.n);
        }
        break;
    default:
        return LLVMFuzzerMutate(data, n, most);
    }
    return t.n;
}
