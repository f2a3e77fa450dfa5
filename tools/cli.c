/* cli.c - options from tables, error lines, and numbers as people read them. */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "graph/io.h"
#include "graph/sniff.h"
#include "tools/verbs.h"

enum { MAX_OPTIONS = 40, FIRST_CODE = 1000, HELP_CODE = 999 };

static void print_help(const cli_spec *s)
{
    printf("usage: weft %s %s\n\n%s\n", s->verb, s->args, s->doc);
    printf("\noptions:\n");
    for (const cli_option *o = s->option; o && o->name; o++) {
        char left[64];
        const char *form = o->kind == CLI_FLAG    ? "--%s"
                           : o->kind == CLI_MAYBE ? "--%s[=%s]"
                                                  : "--%s=%s";
        snprintf(left, sizeof left, form, o->name, o->arg);
        printf("  %-24s %s\n", left, o->help);
    }
    printf("  %-24s %s\n", "--help", "this text");
}

static void say(FILE *f, const char *fmt, va_list ap)
{
    char text[4096];
    weft_format(text, sizeof text, fmt, ap);
    fputs(text, f);
}

void cli_say(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(stderr, fmt, ap);
    va_end(ap);
}

void cli_put(const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    say(stdout, fmt, ap);
    va_end(ap);
}

int cli_usage(const char *verb, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "weft: error: ");
    say(stderr, fmt, ap);
    fprintf(stderr, "\n  see 'weft%s%s --help'\n", verb ? " " : "", verb ? verb : "");
    va_end(ap);
    return WEFT_USAGE;
}

/* "an integer in 1..8", "a number": what the option takes. */
static void describe_range(char *buf, size_t n, const cli_option *o)
{
    const char *what = o->kind == CLI_INT ? "an integer" : "a number";
    if (o->min < o->max)
        snprintf(buf, n, "%s in %.15g..%.15g", what, o->min, o->max);
    else
        snprintf(buf, n, "%s", what);
}

/* Whole string, finite, in range. */
static bool parse_number(const cli_option *o, const char *text, double *f, int64_t *i)
{
    /* blanks, a plus, hexadecimal digits: slips of a script */
    if (o->kind == CLI_INT ? !weft_parse_i64(text, i) : !weft_parse_f64(text, f))
        return false;
    *f = o->kind == CLI_INT ? (double)*i : *f;
    return !(o->min < o->max) || (*f >= o->min && *f <= o->max);
}

/* Names of the options of the last line, in its order; each once. */
static struct {
    const char *name[MAX_OPTIONS];
    int n;
} given;

const char *cli_given(const char *const *names)
{
    for (int i = 0; i < given.n; i++)
        for (int k = 0; names[k]; k++)
            if (!strcmp(given.name[i], names[k]))
                return names[k];
    return NULL;
}

static void note_given(const char *name)
{
    if (!cli_given((const char *const[]){name, NULL}))
        given.name[given.n++] = name;
}

/* A path that is empty is the variable of a script that was not set. */
static bool check_empty(const cli_spec *s, const cli_option *o, const char *text)
{
    static const char *const paths[] = {"FILE", "FILE.bin", "DIR", "PATH", "FOLDER", "MODEL"};
    bool path = false;
    for (size_t i = 0; o->arg && i < sizeof paths / sizeof *paths; i++)
        path |= !strcmp(o->arg, paths[i]);
    if (!path || !text || *text)
        return true;
    cli_usage(s->verb, "--%s=: is empty, expected %s", o->name, o->arg);
    return false;
}

static bool store(const cli_spec *s, const cli_option *o, const char *text)
{
    double f = 0;
    int64_t i = 0;
    char range[96];
    if (!check_empty(s, o, text))
        return false;
    switch (o->kind) {
    case CLI_FLAG:
        *(bool *)o->to = true;
        return true;
    case CLI_TEXT:
        *(const char **)o->to = text;
        return true;
    case CLI_MAYBE:
        *(const char **)o->to = text ? text : "";
        return true;
    case CLI_LIST: {
        cli_list *l = o->to;
        if (l->n == CLI_LIST_MAX) {
            cli_usage(s->verb, "--%s is given more than %d times", o->name, CLI_LIST_MAX);
            return false;
        }
        l->item[l->n++] = text;
        return true;
    }
    default:
        break;
    }
    if (!parse_number(o, text, &f, &i)) {
        describe_range(range, sizeof range, o);
        cli_usage(s->verb, "--%s=%s: expected %s", o->name, text, range);
        return false;
    }
    if (o->kind == CLI_INT)
        *(int64_t *)o->to = i;
    else
        *(double *)o->to = f;
    return true;
}

static int build_table(const cli_spec *s, struct option *t)
{
    int n = 0;
    for (const cli_option *o = s->option; o && o->name && n < MAX_OPTIONS; o++, n++) {
        int has = o->kind == CLI_FLAG    ? no_argument
                  : o->kind == CLI_MAYBE ? optional_argument
                                         : required_argument;
        t[n] = (struct option){o->name, has, NULL, FIRST_CODE + n};
    }
    t[n] = (struct option){"help", no_argument, NULL, HELP_CODE};
    return n;
}

static int complain_unknown(const cli_spec *s, const struct option *t, int n, const char *arg)
{
    const char *names[MAX_OPTIONS + 1];
    for (int i = 0; i <= n; i++)
        names[i] = t[i].name;
    const char *word = arg + strspn(arg, "-");
    char bare[64];
    snprintf(bare, sizeof bare, "%.*s", (int)strcspn(word, "="), word);
    const char *near = weft_nearest(bare, names, n + 1);
    if (near && strcmp(near, bare))
        return cli_usage(s->verb, "unknown option '%s'; did you mean '--%s'?", arg, near);
    return cli_usage(s->verb, "unknown option '%s'", arg);
}

static int check_count(const cli_spec *s, int n, char **argv)
{
    if (n < s->min_args)
        return cli_usage(s->verb, "%s takes %s", s->verb, s->args);
    if (n > s->max_args)
        return cli_usage(s->verb, "unexpected argument '%s'", argv[s->max_args]);
    for (int i = 0; i < n && !strstr(s->args, "[TEXT]"); i++)
        if (!*argv[i])
            return cli_usage(s->verb, "argument %d is empty: %s takes %s", i + 1, s->verb, s->args);
    return -1;
}

int cli_parse(const cli_spec *s, int *argc, char ***argv)
{
    struct option t[MAX_OPTIONS + 2] = {{0}};
    int n = build_table(s, t), code;
    given.n = 0;
    optind = 0; /* glibc: start over, a verb may be the second parse of the process */
    /* getopt's own complaints do not know the nearest name */
    opterr = 0;
    while ((code = getopt_long(*argc, *argv, ":h", t, NULL)) != -1) {
        if (code == HELP_CODE || code == 'h') {
            print_help(s);
            return WEFT_OK;
        }
        const char *word = (*argv)[optind - 1];
        if (code == ':')
            return cli_usage(s->verb, "option '%s' needs an argument", word);
        if (code == '?')
            return complain_unknown(s, t, n, word);
        if (!store(s, &s->option[code - FIRST_CODE], optarg))
            return WEFT_USAGE;
        note_given(s->option[code - FIRST_CODE].name);
    }
    *argc -= optind;
    *argv += optind;
    return check_count(s, *argc, *argv);
}

/* `| head`: who reads has enough. The code is what a shell says of a process that SIGPIPE ended. */
enum { PIPE_CODE = 128 + SIGPIPE };
static bool reader_left;

/* Standard output first: in a file that has both, what was printed before stands before the error.
 */
int cli_fail(weft_ctx *c)
{
    fflush(stdout);
    if (reader_left)
        return PIPE_CODE;
    fprintf(stderr, "weft: error: %s\n", weft_error(c));
    return (int)weft_error_status(c);
}

/* Has the reader of a pipe gone? errno is that of the write only as long as nothing follows it. */
static bool pipe_closed(void)
{
    struct pollfd p = {.fd = 1, .events = POLLOUT};
    return poll(&p, 1, 0) > 0 && p.revents & POLLERR;
}

weft_status cli_written(weft_ctx *c)
{
    if (!ferror(stdout))
        return WEFT_OK;
    reader_left = pipe_closed();
    return weft_fail(c, WEFT_IO, "writing to standard output: %s",
                     reader_left ? "its reader has gone" : strerror(errno ? errno : EIO));
}

/* A full disk or a closed pipe shows when the buffer is written; an earlier error is the better one
 * to tell. */
int cli_finish(weft_ctx *c, int status)
{
    fflush(stdout);
    return status || !cli_written(c) ? status : cli_fail(c);
}

void cli_put_lines(const char *text)
{
    char c[WEFT_VISIBLE];
    for (size_t i = 0, n = strlen(text); i < n;) {
        if (text[i] == '\n' || text[i] == '\t') {
            putchar(text[i++]);
            continue;
        }
        i += weft_visible(c, text + i, n - i);
        fputs(c, stdout);
    }
}

int cli_print(weft_ctx *c, char *text)
{
    cli_put_lines(text);
    weft_text_free(c, text);
    return WEFT_OK;
}

weft_status cli_check_output(weft_ctx *c, const char *option, const char *path,
                             const char *const *begins)
{
    char head[32] = "", shown[256];
    int fd;
    int kind;
    WEFT_TRY(weft_make_parent(c, path));
    WEFT_TRY(weft_look_out(c, path, &kind));
    if (kind != 1)
        return WEFT_OK;
    WEFT_TRY(weft_open_read(c, path, &fd));
    int64_t n = weft_size(c, fd);
    n = n < (int64_t)sizeof head - 1 ? n : (int64_t)sizeof head - 1;
    weft_status s = n > 0 ? weft_read_at(c, fd, path, head, (size_t)n, 0) : WEFT_OK;
    weft_close_fd(c, fd);
    for (int i = 0; !s && n > 0 && begins[i]; i++)
        if (!strncasecmp(head, begins[i], strlen(begins[i])))
            return WEFT_OK;
    return s || n <= 0 ? s
                       : weft_fail(c, WEFT_CANTCREATE,
                                   "--%s=%s: the file is there and does not begin with '%s': it is "
                                   "not replaced",
                                   option, weft_printable(shown, sizeof shown, path), begins[0]);
}

weft_status cli_check_text(weft_ctx *c, const char *name, const void *text, size_t n)
{
    char shown[256];
    size_t look = n < WEFT_SNIFF_BYTES ? n : WEFT_SNIFF_BYTES;
    const char *is = weft_kind_of(text, look);
    is = is ? is : weft_no_text(text, look);
    return is ? weft_fail(c, WEFT_MALFORMED, "%s: this is %s, expected text",
                          weft_printable(shown, sizeof shown, name), is)
              : WEFT_OK;
}

void cli_json_text(FILE *f, const char *s) { cli_json_bytes(f, s, strlen(s)); }

void cli_json_bytes(FILE *f, const char *s, size_t n)
{
    utf8proc_int32_t code;
    fputc('"', f);
    for (size_t i = 0; i < n;) {
        unsigned char u = (unsigned char)s[i];
        utf8proc_ssize_t len =
            utf8proc_iterate((const utf8proc_uint8_t *)s + i, (utf8proc_ssize_t)(n - i), &code);
        if (u == '"' || u == '\\')
            fprintf(f, "\\%c", u);
        else if (u < 0x20)
            fprintf(f, "\\u%04x", u);
        else if (len < 0)
            fputs("\\ufffd", f);
        else
            fwrite(s + i, 1, (size_t)len, f);
        i += len < 0 ? 1 : (size_t)len;
    }
    fputc('"', f);
}

void cli_json_value(FILE *f, double v, int digits)
{
    if (isfinite(v))
        fprintf(f, "%.*g", digits, v);
    else
        fputs("null", f);
}

void cli_json_number(FILE *f, const char *before, const char *key, double v)
{
    fputs(before, f);
    cli_json_text(f, key);
    fputc(':', f);
    cli_json_value(f, v, 9);
}

const char *cli_count(char *buf, size_t n, int64_t v)
{
    char digits[32];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)v);
    size_t at = 0;
    for (int i = 0; i < len && at + 2 < n; i++) {
        if (i && digits[i - 1] != '-' && (len - i) % 3 == 0)
            buf[at++] = ',';
        buf[at++] = digits[i];
    }
    buf[at] = 0;
    return buf;
}

const char *cli_bytes(char *buf, size_t n, double bytes)
{
    static const char *const unit[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    int u = 0;
    for (; bytes >= 1024 && u < 4; u++)
        bytes /= 1024;
    snprintf(buf, n, u ? "%.2f %s" : "%.0f %s", bytes, unit[u]);
    return buf;
}
