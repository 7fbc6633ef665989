package main

import "golang.org/x/sys/unix"

// callsOfThisProcessor are those that other processors do not have.
var callsOfThisProcessor = []dangerous{
	{"iopl", unix.SYS_IOPL, 110, [6]uintptr{99}, "the ports of the machine's devices", "iopl(2)"},
	{"ioperm", unix.SYS_IOPERM, 101, [6]uintptr{0xfffffff, 1, 1}, "the ports of the machine's devices", "ioperm(2)"},
	{"modify_ldt", unix.SYS_MODIFY_LDT, 123, [6]uintptr{0, 1}, "segments of the caller's making, with a history of bugs", "modify_ldt(2); CVE-2015-5157"},
	{"uselib", unix.SYS_USELIB, 86, [6]uintptr{1}, "an obsolete loader in the kernel", "uselib(2); CVE-2004-1235"},
	{"ustat", unix.SYS_USTAT, 62, [6]uintptr{99, 1}, "an obsolete call that hardly anybody looks after", "ustat(2)"},
	{"sysfs", unix.SYS_SYSFS, 135, [6]uintptr{99}, "an obsolete call that hardly anybody looks after", "sysfs(2)"},
	{"vm86", 0, 166, [6]uintptr{99, 1}, "the 16-bit mode, with a history of bugs", "vm86(2)"},
	{"socketcall", 0, 102, [6]uintptr{99, 1}, "makes sockets with arguments that no filter can read", "socketcall(2)"},
}
