package main

import (
	"errors"
	"fmt"
	"slices"
	"syscall"

	"jail/sandbox/audit/check"
)

// A probe is a check with the attempt itself.
type probe struct {
	check.Check
	try func(b *check.Bait) verdict
}

// allChecks lists every check, group by group. Ids are unique; a test looks.
func allChecks() []probe {
	return slices.Concat(
		in(check.Files, fileChecks()), in(check.Mounts, mountChecks()), in(check.Namespaces, namespaceChecks()),
		in(check.Kernel, kernelChecks()), in(check.Devices, deviceChecks()), in(check.Descriptors, descriptorChecks()),
		in(check.Terminal, terminalChecks()), in(check.Processes, processChecks()), in(check.Privileges, privilegeChecks()),
		in(check.Calls, callChecks(abiNative)), in(check.CallsI386, callChecks(abiI386)), in(check.CallsX32, callChecks(abiX32)),
		in(check.Sockets, socketChecks()), in(check.Network, networkChecks()), in(check.IPC, ipcChecks()),
		in(check.Cgroups, cgroupChecks()), in(check.Limits, limitChecks()), in(check.Environment, environmentChecks()),
	)
}

// in puts checks into a group.
func in(group string, all []probe) []probe {
	for i := range all {
		all[i].Group = group
		all[i].ID = group + "/" + all[i].ID
	}
	return all
}

// A verdict is what came of an attempt.
type verdict struct {
	answer check.Answer
	detail string
}

func held(format string, args ...any) verdict {
	return verdict{check.Held, fmt.Sprintf(format, args...)}
}
func open(format string, args ...any) verdict {
	return verdict{check.Open, fmt.Sprintf(format, args...)}
}
func cannot(format string, args ...any) verdict {
	return verdict{check.Cannot, fmt.Sprintf(format, args...)}
}

// byError is the verdict on an attempt that fails with an error where it is kept from succeeding.
func byError(err error) verdict {
	if err == nil {
		return open("success")
	}
	return held("%s", errorWord(err))
}

func errorWord(err error) string {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errnoName(errno)
	}
	return err.Error()
}

// byOutcome is the verdict on a call that gets as far as its own code where nothing keeps it away.
func byOutcome(o outcome) verdict {
	switch {
	case o.failed != nil:
		return cannot("%v", o)
	case o.refused():
		return held("%v", o)
	}
	return open("%v", o)
}
