/* columns.c - two texts side by side: lines broken at blanks, characters counted as UTF-8. */
#include "tools/columns.h"

#include <stdbool.h>
#include <string.h>

static bool starts_character(char c) { return (c & 0xc0) != 0x80; }

/* Bytes of the next line of s, and in *next where the line after it begins. */
static size_t take_line(const char *s, int width, const char **next)
{
    size_t blank = 0, i = 0;
    int count = 0;
    for (; s[i] && s[i] != '\n'; i++) {
        if (starts_character(s[i]) && count++ == width)
            break;
        if (s[i] == ' ')
            blank = i;
    }
    if (s[i] && s[i] != '\n' && s[i] != ' ' && blank)
        i = blank;
    *next = s + i + (s[i] == '\n' || s[i] == ' ');
    return i;
}

static void put_cell(FILE *f, const char *s, size_t n, int width)
{
    for (size_t i = 0; i < n; i++) {
        fputc((unsigned char)s[i] < ' ' ? ' ' : s[i], f);
        width -= starts_character(s[i]);
    }
    for (; width > 0; width--)
        fputc(' ', f);
}

static void put_row(FILE *f, const char *left, size_t n_left, const char *right, size_t n_right,
                    int width)
{
    put_cell(f, left, n_left, width);
    fputs(" | ", f);
    put_cell(f, right, n_right, 0);
    fputc('\n', f);
}

void cli_columns(FILE *f, const char *const title[2], const char *const text[2], int width)
{
    const char *at[2] = {text[0], text[1]};
    put_row(f, title[0], strlen(title[0]), title[1], strlen(title[1]), width);
    while (*at[0] || *at[1]) {
        const char *next[2];
        size_t n[2];
        for (int k = 0; k < 2; k++)
            n[k] = take_line(at[k], width, &next[k]);
        put_row(f, at[0], n[0], at[1], n[1], width);
        at[0] = next[0];
        at[1] = next[1];
    }
}
