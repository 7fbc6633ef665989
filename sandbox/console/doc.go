// Package console is the supervisor's side of the terminal.
//
// The program in the sandbox never holds a descriptor of the caller's
// terminal: it gets the slave of a pseudo-terminal from the sandbox's own
// devpts, and this package relays between the master of that one (the inner
// terminal) and the caller's (the outer terminal). TIOCSTI, TIOCLINUX and
// changed settings then reach the inner terminal only (CVE-2017-5226).
//
// # Who does what
//
//	caller's shell      outer terminal       supervisor          inner terminal      sandbox
//	--------------      --------------       ----------          --------------      -------
//	tcsetpgrp(jail) --> foreground: jail
//	                    raw mode       <---- Attach
//	keys -------------> bytes -------------> relay ------------> ISIG, ICANON -----> program
//	                    bytes <------------- relay <------------ OPOST, ONLCR <----- program
//	                    SIGWINCH ----------> resize -----------> SIGWINCH ---------> program
//	                                         Suspend   <-------- (pid 1's report) -- program stops
//	job stopped <------ settings back  <---- SIGTSTP to jail's own group
//	fg ---------------> foreground: jail --> raw mode, Hooks.Foreground, SIGCONT --> program
//
// Inside, pid 1 leads the session and the program has a process group of its
// own in it. Which of the two groups is the foreground of the inner terminal
// is the whole of job control:
//
//   - The program's group, while jail owns the outer terminal: raw mode is on
//     and keys are relayed.
//   - The group of pid 1 otherwise: jail was started or continued in the
//     background, or stands in a pipeline where a neighbour may be reading the
//     same terminal ("git log | jail less"). A program that then reads from or
//     sets its terminal gets SIGTTIN or SIGTTOU from the kernel and stops, pid 1
//     reports it, and Suspend decides whether jail may take the outer terminal
//     or must itself stop, as a shell expects of a background job.
//
// # What the launcher does, in order
//
//  1. Open, with the caller's standard streams; Replaced says which of them
//     become the slave, Settings what the slave is to be set to, Foreground
//     which group starts in front.
//  2. Start the sandbox: pid 1 does setsid, TIOCSCTTY, TCSETS and TIOCSWINSZ on
//     the slave, keeps the slave open, and puts the program's group in front
//     before exec (setting it afterwards races with the program's first read).
//  3. Attach, when the master has come out. Relaying begins.
//  4. Suspend, whenever pid 1 reports that the program stopped; when it
//     returns, SIGCONT to the program's group.
//  5. Drain, when the program has ended, then Close. Close may be deferred: it
//     is safe at any time and puts the outer settings back.
//
// SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP and the like that jail itself
// receives are the launcher's to pass on to the program's group; with raw mode
// off they are how Ctrl-C and Ctrl-Z arrive. SIGWINCH, SIGCONT, SIGTTIN and
// SIGTTOU belong to this package.
//
// # Settings that outlive the supervisor
//
// A supervisor killed with SIGKILL cannot put the settings back. Before raw
// mode is set a watcher is forked, a process of some twenty raw system calls in
// a session of its own; it sleeps on a pipe from the supervisor, and when that
// breaks while raw mode is on, it restores the settings and exits.
//
// Settings are only ever put back while they are still the ones this package
// set. Two jails in one pipeline may thus end in either order, and a shell that
// was quicker is not overruled.
package console
