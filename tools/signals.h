/* signals.h - SIGINT and SIGTERM as a request: work in hand is finished and saved, then the tool
 * ends. */
#ifndef WEFT_TOOLS_SIGNALS_H
#define WEFT_TOOLS_SIGNALS_H

/* Asks for both from now on. Returns where the library looks: 0, or the signal that came. A second
 * signal ends the process at once, with 128 + its number: what is on disk is whole at any time. */
const volatile int *cli_signals(void);

#endif
