/* columns.h - two texts side by side. */
#ifndef WEFT_TOOLS_COLUMNS_H
#define WEFT_TOOLS_COLUMNS_H

#include <stdio.h>

/* Prints two texts in columns of `width` characters, broken at blanks, under their titles. */
void cli_columns(FILE *f, const char *const title[2], const char *const text[2], int width);

#endif
