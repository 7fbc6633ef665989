package policy

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// callQuestions are what a reader wants to know of the system calls: each asks
// for the verdict on one call with telling arguments.
var callQuestions = [...]struct {
	call string
	args [6]uint64
	text string
}{
	{"clone", [6]uint64{unix.CLONE_NEWUSER}, "make user namespaces of its own, as browsers do for their helpers"},
	{"unshare", [6]uint64{unix.CLONE_NEWNS}, "make mount namespaces of its own"},
	{"mount", [6]uint64{}, "mount file systems"},
	{"ptrace", [6]uint64{}, "trace and change other processes (ptrace)"},
	{"process_vm_writev", [6]uint64{}, "write to the memory of other processes"},
	{"ioctl", [6]uint64{0, unix.TIOCSTI}, "type into the terminal (TIOCSTI)"},
	{"socket", [6]uint64{unix.AF_INET}, "open internet sockets, as far as there is a network"},
	{"socket", [6]uint64{unix.AF_NETLINK, 0, unix.NETLINK_NETFILTER}, "speak to the packet filter"},
	{"socket", [6]uint64{unix.AF_VSOCK}, "open rare sockets (vsock, ALG, bluetooth, ...)"},
	{"io_uring_setup", [6]uint64{}, "use io_uring"},
	{"bpf", [6]uint64{}, "load programs into the kernel (bpf)"},
	{"perf_event_open", [6]uint64{}, "measure the machine (perf)"},
	{"userfaultfd", [6]uint64{}, "handle page faults (userfaultfd)"},
	{"keyctl", [6]uint64{}, "use the kernel's keyring"},
	{"init_module", [6]uint64{}, "load kernel modules"},
	{"kexec_load", [6]uint64{}, "start another kernel"},
}

// calls says which system calls the program may make.
func (e *explainer) calls() {
	if e.r.level("seccomp") == "off" {
		e.section("It may make system calls:", []string{"every one that this kernel has: there is no filter"}, "")
		return
	}
	c := &compiler{r: e.r}
	states := c.callStates()
	_, archs := nativeArch()
	granted, known := 0, 0
	for i := range syscallTable {
		if syscallTable[i].archs&archs == 0 {
			continue
		}
		known++
		if s := &states.of[i]; s.granted && !s.isDenied() {
			granted++
		}
	}
	lines := []string{strconv.Itoa(granted) + " of the " + strconv.Itoa(known) + " that jail knows, by " + e.grants() + ";",
		"any other is answered with " + e.r.Syscalls.Default.Name + ", one that jail does not know with ENOSYS"}
	var may, mayNot []string
	for _, q := range callQuestions {
		i, ok := findSyscall(q.call)
		if !ok {
			continue
		}
		v := c.verdict(i, &states)
		if kind := v.answer(q.args).Kind; kind == "allow" || kind == "log" {
			may = append(may, q.text)
		} else {
			mayNot = append(mayNot, q.text)
		}
	}
	e.section("It may make system calls:", lines, "")
	e.section("With them it may:", may, "")
	e.section("It may not:", mayNot, "")
	if len(e.r.Syscalls.Architectures) > 0 {
		names := make([]string, len(e.r.Syscalls.Architectures))
		for i, a := range e.r.Syscalls.Architectures {
			names[i] = strings.TrimPrefix(a.Name, "SCMP_ARCH_")
		}
		e.line("  Programs of other architectures run too: " + strings.Join(names, ", "))
	}
}

// grants names what the calls were granted by.
func (e *explainer) grants() string {
	var names []string
	for _, a := range e.r.Syscalls.Allow {
		if !slices.Contains(names, a.Name) {
			names = append(names, a.Name)
		}
	}
	if len(e.r.Syscalls.Rules) > 0 {
		names = append(names, "rules of their own")
	}
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

// answer gives the verdict on one call with its arguments.
func (v *verdict) answer(args [6]uint64) SyscallAction {
	for _, l := range v.lines {
		if l.matches(args) {
			return l.action
		}
	}
	return v.base
}

func (l *verdictLine) matches(args [6]uint64) bool {
	for _, a := range l.args {
		x, holds := args[a.Index], false
		switch a.Op {
		case "eq":
			holds = x == a.Value
		case "ne":
			holds = x != a.Value
		case "lt":
			holds = x < a.Value
		case "le":
			holds = x <= a.Value
		case "gt":
			holds = x > a.Value
		case "ge":
			holds = x >= a.Value
		case "masked-eq":
			holds = x&a.Value == a.ValueTwo
		}
		if !holds {
			return false
		}
	}
	return true
}
