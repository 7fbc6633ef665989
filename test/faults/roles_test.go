//go:build amd64

package faults

import (
	"cmp"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The processes of a start.
const (
	supervisor = "jail"
	compiler   = "filter compiler"
	gateway    = "gateway"
	joiner     = "first process" // enters the network's namespaces and makes pid 1
	pid1       = "pid 1"
	program    = "program" // from the fork to execve(2)
	watcher    = "watcher" // puts back the terminal's settings, or takes the control group away
	child      = "short-lived child"
)

// roleOf names a process by who made it and how.
func roleOf(maker string, flags uint64) string {
	switch {
	case maker == supervisor && flags&0xff == 0: // no signal at its end
		return watcher
	case maker == supervisor && flags&unix.CLONE_NEWUSER != 0 && flags&unix.CLONE_NEWPID == 0:
		return gateway // before it is a program, too
	case maker == supervisor && flags&unix.CLONE_PIDFD == 0 && flags&unix.CLONE_NEWPID == 0:
		return joiner
	case maker == supervisor && flags&unix.CLONE_PIDFD == 0, maker == joiner:
		return pid1
	case maker == pid1:
		return program
	case maker == supervisor && flags&0xff == uint64(unix.SIGCHLD):
		return compiler
	}
	return child + " of " + maker
}

// symbols is what tells Go's runtime from the rest of a program.
type symbols struct{ table *gosym.Table }

var known = map[int64]symbols{} // by the size of the file: there are three

// symbolsOf reads those of what a process executes. The linker has taken the symbol table away, but a Go program needs
// its line table itself.
func symbolsOf(tid int) symbols {
	path := fmt.Sprintf("/proc/%d/exe", tid)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return symbols{}
	}
	if s, ok := known[st.Size]; ok {
		return s
	}
	f, err := elf.Open(path)
	if err != nil {
		return symbols{}
	}
	defer f.Close()
	var s symbols
	lines, text := f.Section(".gopclntab"), f.Section(".text")
	if lines == nil {
		lines = f.Section(".data.rel.ro.gopclntab")
	}
	if lines != nil && text != nil {
		if b, err := lines.Data(); err == nil {
			s.table, _ = gosym.NewTable(nil, gosym.NewLineTable(b, text.Addr))
		}
	}
	known[st.Size] = s
	return s
}

// callers are the functions that led to a system call, the innermost first: the return addresses along the frame
// pointers, which Go's compiler keeps. Where the process has made its memory unreadable there are none.
func (s symbols) callers(tid int, info syscallInfo) (names []string) {
	var regs syscall.PtraceRegs
	if s.table == nil || syscall.PtraceGetRegs(tid, &regs) != nil {
		return nil
	}
	// Most calls are made in one assembly function without a frame of its own.
	if name := s.at(info.IP); !strings.HasSuffix(name, ".Syscall6") {
		names = append(names, cmp.Or(name, "C"))
	} else {
		names = append(names, cmp.Or(s.at(peek(tid, info.SP)), "?"))
	}
	for frame := regs.Rbp; frame != 0 && len(names) < 32; frame = peek(tid, frame) {
		name := s.at(peek(tid, frame+8))
		if name == "" {
			break
		}
		names = append(names, name)
	}
	return names
}

// ofRuntime tells whether a system call is made by Go's runtime, by C code, or by a library while it is initialized, and
// not by a package that jail's code calls.
func ofRuntime(callers []string) bool {
	if i := slices.Index(callers, "runtime.doInit1"); i > 0 {
		return !strings.HasPrefix(callers[i-1], "jail/")
	}
	return len(callers) > 0 && (callers[0] == "C" || strings.HasPrefix(callers[0], "runtime.") || strings.HasPrefix(callers[0], "internal/runtime/"))
}

func (s symbols) at(pc uint64) string {
	if f := s.table.PCToFunc(pc); f != nil {
		return f.Name
	}
	return ""
}
