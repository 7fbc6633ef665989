//go:build amd64

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A fault is one system call to fail, once.
type fault struct {
	Role  string // the process, see roleOf
	Call  uint64
	Nth   int // of that call in that process, from 1
	Errno syscall.Errno
}

// A job is one run of a command under the tracer.
type job struct {
	Args, Env  []string
	Dir, Stdin string
	Terminal   bool   // the standard input is one, and the controlling one, instead of Stdin
	Fault      *fault // nil: every call is recorded and none fails
	Limit      time.Duration
}

// A record is one system call that a process made.
type record struct {
	Role string
	Call uint64
	Nth  int
	// Runtime tells that no code of jail's asked for it: Go's runtime or the C library did.
	Runtime bool
}

// An outcome is how a run went.
type outcome struct {
	Hit            bool     // the call to fail was made
	Retried        bool     // and made again at once
	Callers        []string // of the call, the innermost first
	Code           int      // exit status, or 128 and the signal
	Stdout, Stderr string
	Hung           bool     // it was still there when its time was up
	Left           []string // processes that were there then, or outlived it
	Calls          []record
}

// A process is one of jail's, with all its threads.
type process struct {
	role    string
	counts  map[uint64]int
	program symbols
}

// A thread is what ptrace(2) deals with.
type thread struct {
	of      *process
	fresh   bool // its first stop, SIGSTOP, is still to come
	inside  bool // of a system call
	failing bool // its result is to be replaced
	failed  bool // its last call was made to fail
}

type tracer struct {
	job
	out      outcome
	threads  map[int]*thread
	orphans  map[int]bool // threads that stopped before their maker told of them
	master   *os.File     // of the terminal
	settings unix.Termios // of the terminal, before the run
	watchdog *time.Timer
	mu       sync.Mutex // of what follows, which the watchdog reads
	finished bool       // the first process has ended
	alive    map[int]bool
}

// traceAll runs jobs, one JSON object a line, until there are no more. Every process that a job leaves behind becomes a
// child of this one: PR_SET_CHILD_SUBREAPER, prctl(2).
func traceAll(in io.Reader, out io.Writer) int {
	runtime.LockOSThread() // which ptrace(2) and the death signal are bound to
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	jobs, results := json.NewDecoder(in), json.NewEncoder(out)
	for {
		t := &tracer{threads: map[int]*thread{}, orphans: map[int]bool{}, alive: map[int]bool{}}
		if err := jobs.Decode(&t.job); errors.Is(err, io.EOF) {
			return 0
		} else if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := t.run(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		if err := results.Encode(t.out); err != nil {
			return 1
		}
	}
}

func (t *tracer) run() error {
	var streams [3]*os.File
	var err error
	attr := &syscall.SysProcAttr{Ptrace: true, Setsid: true, Setctty: t.Terminal}
	if t.Terminal {
		streams[0], err = t.terminal()
	} else {
		streams[0], err = os.Open(t.Stdin)
	}
	if err != nil {
		return err
	}
	defer streams[0].Close()
	for i := 1; i < 3; i++ {
		fd, err := unix.MemfdCreate("stream", unix.MFD_CLOEXEC)
		if err != nil {
			return err
		}
		streams[i] = os.NewFile(uintptr(fd), "stream")
		defer streams[i].Close()
	}
	first, err := syscall.ForkExec(t.Args[0], t.Args, &syscall.ProcAttr{
		Dir: t.Dir, Env: t.Env, Files: []uintptr{streams[0].Fd(), streams[1].Fd(), streams[2].Fd()},
		Sys: attr,
	})
	if err != nil {
		return err
	}
	var ws syscall.WaitStatus
	if _, err := syscall.Wait4(first, &ws, 0, nil); err != nil {
		return err
	}
	const options = syscall.PTRACE_O_TRACESYSGOOD | syscall.PTRACE_O_TRACEFORK | syscall.PTRACE_O_TRACEVFORK | syscall.PTRACE_O_TRACECLONE |
		syscall.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := syscall.PtraceSetOptions(first, options); err != nil {
		return err
	}
	jail := &process{role: "jail", counts: map[uint64]int{}, program: symbolsOf(first)}
	t.add(first, &thread{of: jail})
	t.resume(first, 0)
	t.watchdog = time.AfterFunc(t.Limit, t.end)
	t.follow(first)
	t.watchdog.Stop()
	if t.Terminal {
		defer t.master.Close()
		if left := t.settingsLeft(streams[0]); left != "" {
			t.out.Left = append(t.out.Left, left)
		}
	}
	for i, text := range []*string{&t.out.Stdout, &t.out.Stderr} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d", streams[i+1].Fd()))
		if err != nil {
			return err
		}
		*text = string(b)
	}
	return nil
}

func (t *tracer) add(tid int, th *thread) {
	t.threads[tid] = th
	t.mu.Lock()
	t.alive[tid] = true
	t.mu.Unlock()
}

func (t *tracer) remove(tid int) {
	delete(t.threads, tid)
	t.mu.Lock()
	delete(t.alive, tid)
	t.mu.Unlock()
}

// end kills whatever is still there when the time is up.
func (t *tracer) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for tid := range t.alive {
		cmdline, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", tid))
		wchan, _ := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", tid))
		t.out.Left = append(t.out.Left, fmt.Sprintf("%d %q in %s", tid, strings.ReplaceAll(string(cmdline), "\x00", " "), strings.TrimSpace(string(wchan))))
		_ = unix.Kill(tid, unix.SIGKILL)
	}
	t.out.Hung = !t.finished
}

// follow goes on until no process is left: neither one of those traced, nor an orphan.
func (t *tracer) follow(first int) {
	for {
		var ws syscall.WaitStatus
		tid, err := syscall.Wait4(-1, &ws, syscall.WALL, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil { // ECHILD
			return
		}
		switch {
		case ws.Exited() || ws.Signaled():
			if tid == first {
				t.mu.Lock()
				t.finished = true
				t.mu.Unlock()
				t.watchdog.Reset(t.Limit)
				if t.out.Code = ws.ExitStatus(); ws.Signaled() {
					t.out.Code = 128 + int(ws.Signal())
				}
			}
			t.remove(tid)
		case ws.Stopped():
			t.stopped(tid, ws)
		}
	}
}

func (t *tracer) stopped(tid int, ws syscall.WaitStatus) {
	th := t.threads[tid]
	sig := ws.StopSignal()
	switch {
	case th == nil: // a new one's first stop, ahead of the event that tells whose it is
		t.orphans[tid] = true
	case sig == syscall.SIGTRAP|0x80:
		t.call(tid, th)
		t.resume(tid, 0)
	case sig == syscall.SIGTRAP && ws.TrapCause() > 0:
		t.event(tid, th, ws.TrapCause())
	case sig == syscall.SIGSTOP && th.fresh:
		th.fresh = false
		t.resume(tid, 0)
	default:
		t.resume(tid, int(sig))
	}
}

// resume lets a thread go on. Where its calls are of no interest it is not stopped at them.
func (t *tracer) resume(tid, sig int) {
	th := t.threads[tid]
	if t.Fault == nil || th.of.role == t.Fault.Role && !t.out.Hit || th.failing || th.failed {
		_ = syscall.PtraceSyscall(tid, sig)
		return
	}
	th.inside = false
	_ = syscall.PtraceCont(tid, sig)
}

func (t *tracer) event(tid int, th *thread, cause int) {
	switch cause {
	case syscall.PTRACE_EVENT_EXEC:
		if th.of.role == program {
			t.remove(tid)
			_ = syscall.PtraceDetach(tid)
			return
		}
		th.of.program = symbolsOf(tid)
	case syscall.PTRACE_EVENT_FORK, syscall.PTRACE_EVENT_VFORK, syscall.PTRACE_EVENT_CLONE:
		msg, err := syscall.PtraceGetEventMsg(tid)
		if err != nil {
			break
		}
		child, flags := int(msg), cloneFlags(tid)
		made := &thread{of: th.of, fresh: !t.orphans[child]}
		if flags&unix.CLONE_THREAD == 0 {
			made.of = &process{role: roleOf(th.of.role, flags), counts: map[uint64]int{}, program: th.of.program}
		}
		t.add(child, made)
		if t.orphans[child] {
			delete(t.orphans, child)
			t.resume(child, 0)
		}
	}
	t.resume(tid, 0)
}

// syscallInfo is struct ptrace_syscall_info for an entry: ptrace(2), PTRACE_GET_SYSCALL_INFO.
type syscallInfo struct {
	Op     uint8
	_      [3]uint8
	Arch   uint32
	IP, SP uint64
	Nr     uint64
	Args   [6]uint64
	_      [8]uint64
}

const (
	getSyscallInfo = 0x420e
	atEntry        = 1
	atExit         = 2
)

func infoOf(tid int) (info syscallInfo, ok bool) {
	_, _, errno := syscall.RawSyscall6(unix.SYS_PTRACE, getSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	return info, errno == 0
}

// cloneFlags are those of the call that a thread is in, with the signal at the child's end in the lowest byte.
func cloneFlags(tid int) uint64 {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return 0
	}
	switch regs.Orig_rax {
	case unix.SYS_CLONE:
		return regs.Rdi
	case unix.SYS_CLONE3:
		return peek(tid, regs.Rdi) | peek(tid, regs.Rdi+32) // struct clone_args: flags, and exit_signal
	}
	return 0
}

func peek(tid int, at uint64) uint64 {
	var word [8]byte
	if _, err := syscall.PtracePeekData(tid, uintptr(at), word[:]); err != nil {
		return 0
	}
	return *(*uint64)(unsafe.Pointer(&word))
}

// call is a stop at the beginning or end of a system call.
func (t *tracer) call(tid int, th *thread) {
	info, ok := infoOf(tid)
	if !ok {
		return
	}
	if info.Op == atExit {
		th.inside = false
		if th.failing {
			th.failing, th.failed = false, true
			setResult(tid, func(regs *syscall.PtraceRegs) { regs.Rax = -uint64(t.Fault.Errno) })
		}
		return
	}
	if info.Op != atEntry {
		return
	}
	th.inside = true
	if th.failed {
		th.failed = false
		t.out.Retried = info.Nr == t.Fault.Call
	}
	th.of.counts[info.Nr]++
	r := record{Role: th.of.role, Call: info.Nr, Nth: th.of.counts[info.Nr]}
	switch {
	case t.Fault == nil:
		r.Runtime = ofRuntime(th.of.program.callers(tid, info))
		t.out.Calls = append(t.out.Calls, r)
	case !t.out.Hit && r.Role == t.Fault.Role && r.Call == t.Fault.Call && r.Nth == t.Fault.Nth:
		t.out.Hit, th.failing = true, true
		t.out.Callers = th.of.program.callers(tid, info)
		// close(2) lets go of the descriptor whatever it answers.
		if info.Nr != unix.SYS_CLOSE {
			setResult(tid, func(regs *syscall.PtraceRegs) { regs.Orig_rax = ^uint64(0) }) // no such call
		}
	}
}

func setResult(tid int, change func(*syscall.PtraceRegs)) {
	var regs syscall.PtraceRegs
	if err := syscall.PtraceGetRegs(tid, &regs); err != nil {
		return
	}
	change(&regs)
	_ = syscall.PtraceSetRegs(tid, &regs)
}
