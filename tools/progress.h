/* progress.h - what a person sees of a training run on standard error. */
#ifndef WEFT_TOOLS_PROGRESS_H
#define WEFT_TOOLS_PROGRESS_H

#include "tools/verbs.h"

typedef enum { PROGRESS_AUTO, PROGRESS_ALWAYS, PROGRESS_NEVER } cli_progress_mode;

typedef struct {
    bool live; /* one line, drawn again and again; else lines */
    bool quiet;
    double last_line; /* seconds at which the last line was written */
    weft_event last;  /* outlives the run, but not the recipe, whose names it has */
    char dir[4096];
} cli_progress;

void cli_progress_init(cli_progress *p, cli_progress_mode mode, bool quiet);
void cli_progress_event(cli_progress *p, const weft_event *e);
/* Ends a live line, so that other output starts on a line of its own. */
void cli_progress_end(cli_progress *p);

#endif
