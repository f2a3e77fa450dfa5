/* added.c - added tokens: where they are found in a text, as Hugging Face's tokenizers finds them.
 *
 * The leftmost token is taken, of several there the longest; the search goes on behind it. Those
 * that are not "normalized" are found first, in the whole text, the others in what is left between
 * them. A token found may be dropped (single_word, or a special one when those are to be spelled),
 * or take the white space beside it (lstrip, rstrip).  The search is Aho and Corasick's (1975): one
 * step a byte, however many tokens there are. */
#include <string.h>

#include <utf8proc.h>

#include "tools/bpe_impl.h"

/* A prefix of tokens. */
typedef struct {
    int32_t suffix; /* the longest proper suffix that is a prefix of tokens, too */
    int32_t depth;  /* bytes */
    int32_t found;  /* the longest token that ends here, an index of t->added; -1: none */
    int32_t parent;
    unsigned char byte; /* by which it is reached from its parent */
} prefix;

typedef struct {
    int32_t from, to; /* to 0: a free slot */
    unsigned char byte;
} edge;

struct bpe_matcher {
    prefix *prefix; /* [n], 0: the empty one */
    int32_t n;
    edge *edge; /* [mask + 1], open addressing */
    size_t mask;
    int32_t start[256]; /* the edges of the empty prefix; most bytes have none */
    int only;           /* the one byte that has; -1: more have */
};

/* ---- building ---- */
static edge *find_edge(const bpe_matcher *m, int32_t from, unsigned char byte)
{
    for (size_t i = bpe_hash(from, byte) & m->mask;; i = (i + 1) & m->mask)
        if (!m->edge[i].to || (m->edge[i].from == from && m->edge[i].byte == byte))
            return &m->edge[i];
}

static void add_pattern(bpe_matcher *m, const char *text, size_t n, int32_t index)
{
    int32_t at = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        edge *e = find_edge(m, at, byte);
        if (!e->to) {
            *e = (edge){at, m->n, byte};
            m->prefix[m->n] = (prefix){0, (int32_t)i + 1, -1, at, byte};
            if (!i)
                m->start[byte] = m->n;
            m->n++;
        }
        at = e->to;
    }
    m->prefix[at].found = index;
}

/* The prefix that is reached from `at`, or from its longest suffix that has such an edge. */
static inline int32_t step(const bpe_matcher *m, int32_t at, unsigned char byte)
{
    for (; at; at = m->prefix[at].suffix) {
        int32_t to = find_edge(m, at, byte)->to;
        if (to)
            return to;
    }
    return m->start[byte];
}

/* A counting sort: suffixes are shorter, and must be known before. */
static weft_status sort_by_depth(weft_ctx *c, const bpe_matcher *m, int32_t *order)
{
    int32_t *count = weft_alloc(c, (BPE_MAX_TOKEN + 2) * sizeof *count);
    if (!count)
        return c->status;
    for (int32_t i = 0; i < m->n; i++)
        count[m->prefix[i].depth + 1]++;
    for (int32_t d = 1; d <= BPE_MAX_TOKEN + 1; d++)
        count[d] += count[d - 1];
    for (int32_t i = 0; i < m->n; i++)
        order[count[m->prefix[i].depth]++] = i;
    weft_free(c, count);
    return WEFT_OK;
}

static weft_status link_suffixes(weft_ctx *c, bpe_matcher *m)
{
    int32_t *order = weft_alloc(c, (size_t)m->n * sizeof *order);
    weft_status s = order ? sort_by_depth(c, m, order) : c->status;
    for (int32_t i = 1; !s && i < m->n; i++) {
        prefix *p = &m->prefix[order[i]];
        p->suffix = p->depth > 1 ? step(m, m->prefix[p->parent].suffix, p->byte) : 0;
        if (p->found < 0)
            p->found = m->prefix[p->suffix].found;
    }
    weft_free(c, order);
    return s;
}

static weft_status make_matcher(weft_bpe *t, bool normalized, bpe_matcher **out)
{
    size_t n = 1, slots = 16;
    for (int i = 0; i < t->n_added; i++)
        n += t->added[i].normalized == normalized ? t->token[t->added[i].id].n : 0;
    if (n == 1)
        return WEFT_OK;
    if (n > INT32_MAX / 4)
        return weft_fail(t->ctx, WEFT_UNSUPPORTED, "added tokens of %zu bytes in all", n);
    while (slots < n * 2)
        slots *= 2;
    bpe_matcher *m = weft_arena_alloc(t->arena, sizeof *m);
    if (!m || !(m->prefix = weft_arena_array(t->arena, n, sizeof *m->prefix)) ||
        !(m->edge = weft_arena_array(t->arena, slots, sizeof *m->edge)))
        return t->ctx->status;
    m->mask = slots - 1;
    m->n = 1;
    m->prefix[0].found = -1;
    for (int i = 0; i < t->n_added; i++) {
        const bpe_token *k = &t->token[t->added[i].id];
        if (t->added[i].normalized == normalized)
            add_pattern(m, k->bytes, k->n, i);
    }
    m->only = -1;
    for (int b = 0, begins = 0; b < 256; b++)
        if (m->start[b])
            m->only = begins++ ? -1 : b;
    *out = m;
    return link_suffixes(t->ctx, m);
}

weft_status bpe_finish(weft_bpe *t)
{
    WEFT_TRY(make_matcher(t, false, &t->matcher[0]));
    return make_matcher(t, true, &t->matcher[1]);
}

/* ---- searching ---- */
static size_t length_of(const weft_bpe *t, int32_t added) { return t->token[t->added[added].id].n; }

/* The next place at or after i at which a token may begin; n: none is left. Where nothing is looked
 * for but <|endoftext|>, it is found as fast as memory is read. */
static size_t next_start(const bpe_matcher *m, const char *text, size_t n, size_t i)
{
    if (m->only >= 0) {
        const char *p = memchr(text + i, m->only, n - i);
        return p ? (size_t)(p - text) : n;
    }
    while (i < n && !m->start[(unsigned char)text[i]])
        i++;
    return i;
}

/* The leftmost, longest token at or after `from`; false: there is none. */
static bool search(const weft_bpe *t, const bpe_matcher *m, const char *text, size_t n, size_t from,
                   bpe_match *out)
{
    int32_t at = 0;
    out->added = -1;
    for (size_t i = from; i < n; i++) {
        if (!at && !(i = next_start(m, text, n, i), i < n))
            break;
        at = step(m, at, (unsigned char)text[i]);
        if (out->added >= 0 && i + 1 - (size_t)m->prefix[at].depth > out->start)
            break; /* nothing that begins there can be longer */
        int32_t found = m->prefix[at].found;
        size_t start = found < 0 ? 0 : i + 1 - length_of(t, found);
        if (found >= 0 && (out->added < 0 || start <= out->start))
            *out = (bpe_match){found, start, i + 1, i + 1};
    }
    return out->added >= 0;
}

/* ---- what is beside a token ---- */
static utf8proc_int32_t char_at(const char *p, size_t n, size_t *len)
{
    utf8proc_int32_t code = -1;
    utf8proc_ssize_t used =
        utf8proc_iterate((const utf8proc_uint8_t *)p, (utf8proc_ssize_t)n, &code);
    *len = used > 0 ? (size_t)used : 1;
    return used > 0 ? code : -1;
}

/* The character that ends before p + n; -1 if it is no UTF-8. */
static utf8proc_int32_t char_before(const char *p, size_t n, size_t *len)
{
    for (size_t k = 1; k <= 4 && k <= n; k++) {
        utf8proc_int32_t code = char_at(p + n - k, k, len);
        if (code >= 0 && *len == k)
            return code;
    }
    *len = 1;
    return -1;
}

/* \w of Unicode's regular expressions (UTS 18, C): letters, marks, decimal numbers, connectors,
 * joiners, and the symbols that are Alphabetic. */
static bool is_word(utf8proc_int32_t code)
{
    if (code < 0)
        return false;
    utf8proc_category_t c = utf8proc_category(code);
    return (c >= UTF8PROC_CATEGORY_LU && c <= UTF8PROC_CATEGORY_LO) ||
           (c >= UTF8PROC_CATEGORY_MN && c <= UTF8PROC_CATEGORY_ME) || c == UTF8PROC_CATEGORY_ND ||
           c == UTF8PROC_CATEGORY_NL || c == UTF8PROC_CATEGORY_PC || code == 0x200C ||
           code == 0x200D || (code >= 0x24B6 && code <= 0x24E9) ||
           (code >= 0x1F130 && code <= 0x1F149) || (code >= 0x1F150 && code <= 0x1F169) ||
           (code >= 0x1F170 && code <= 0x1F189);
}

static bool stands_alone(const char *text, size_t n, const bpe_match *m)
{
    size_t len;
    return (!m->start || !is_word(char_before(text, m->start, &len))) &&
           (m->stop == n || !is_word(char_at(text + m->stop, n - m->stop, &len)));
}

static void strip(const bpe_added *k, const char *text, size_t n, size_t from, bpe_match *m)
{
    size_t len;
    while (k->lstrip && m->start > from && bpe_is_space(char_before(text, m->start, &len)))
        m->start -= len;
    if (k->lstrip && m->start < from) /* the token before took its white space, and it with that */
        m->start = from < m->stop ? from : m->stop;
    while (k->rstrip && m->stop < n && bpe_is_space(char_at(text + m->stop, n - m->stop, &len)))
        m->stop += len;
}

bool bpe_next_added(const weft_bpe *t, int pass, bool specials, const char *text, size_t n,
                    bpe_match *m)
{
    size_t from =
        m->stop; /* what is not taken yet: white space may be taken before it is searched */
    while (t->matcher[pass] && search(t, t->matcher[pass], text, n, m->next, m)) {
        const bpe_added *k = &t->added[m->added];
        if ((k->special && !specials) || (k->single_word && !stands_alone(text, n, m)))
            continue;
        strip(k, text, n, from, m);
        return true;
    }
    return false;
}

/* ---- where a text may be cut ---- */
size_t weft_bpe_longest_added(const weft_bpe *t)
{
    size_t longest = 0;
    for (int i = 0; t && i < t->n_added; i++)
        longest = t->token[t->added[i].id].n > longest ? t->token[t->added[i].id].n : longest;
    return longest;
}

/* Is there a token that begins at or before the place and ends at or behind it? Then *place is
 * where it begins: no place in it is any better. */
static bool touches(const weft_bpe *t, const bpe_matcher *m, const char *text, size_t n,
                    size_t *place, size_t longest)
{
    int32_t s = 0;
    size_t at = *place;
    size_t end = n - at > longest ? at + longest : n;
    for (size_t i = at > longest ? at - longest : 0; i < end; i++) {
        s = step(m, s, (unsigned char)text[i]);
        int32_t found = m->prefix[s].found;
        if (found < 0 || i + 1 < at || i + 1 - length_of(t, found) > at)
            continue;
        *place = i + 1 - length_of(t, found);
        return true;
    }
    return false;
}

/* A token that ends or begins there might take white space from the other side, or look at it. */
size_t weft_bpe_cut(const weft_bpe *t, const char *text, size_t n, size_t at)
{
    size_t longest = weft_bpe_longest_added(t);
    while ((at = weft_split_point(text, at)) > 0 && longest &&
           ((t->matcher[0] && touches(t, t->matcher[0], text, n, &at, longest)) ||
            (t->matcher[1] && touches(t, t->matcher[1], text, n, &at, longest)))) {
        if (!at)
            return 0;
        at--;
    }
    return at;
}
