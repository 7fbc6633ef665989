// Package background keeps what sandboxes say that run without a terminal, and how they ended.
//
// Each has a folder of its own, below a folder that no sandboxed program can see:
//
//	NAME/sandbox   what it is, a line of JSON, and when it has ended a second one that says how
//	NAME/log       what it and its jail said last
//	NAME/log.old   what they said before that
//
// The process that writes holds a lock on the file sandbox. So a sandbox that runs, one that has ended, and one whose
// keeper was killed before it could say how it ended can be told apart, and nothing is removed under a writer's hands.
//
// The two logs have a bound together: when log is full it takes the place of log.old. A program that talks without end
// fills no disk, and its last words are there.
package background
