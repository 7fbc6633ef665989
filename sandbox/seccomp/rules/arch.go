package rules

import (
	"fmt"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// X32Bit marks the x32 ABI in a system call number (__X32_SYSCALL_BIT).
const X32Bit = 0x40000000

// Arch is one system call ABI of the machine.
type Arch struct {
	Name   specs.Arch
	Token  uint32 // AUDIT_ARCH_* of linux/audit.h, what a filter sees
	Narrow bool   // arguments have 32 bits
}

// Architectures that this machine can run, its own first.
func machine() []Arch {
	switch runtime.GOARCH {
	case "amd64":
		return []Arch{
			{Name: specs.ArchX86_64, Token: 0xc000003e},
			{Name: specs.ArchX86, Token: 0x40000003, Narrow: true},
			{Name: specs.ArchX32, Token: 0xc000003e},
		}
	case "arm64":
		return []Arch{
			{Name: specs.ArchAARCH64, Token: 0xc00000b7},
			{Name: specs.ArchARM, Token: 0x40000028, Narrow: true},
		}
	}
	return nil
}

// elsewhere are the architectures of OCI that no machine of ours runs: a spec
// may list them, as the shipped profiles of container engines do, and it
// changes nothing since no call can ever come from one.
var elsewhere = []specs.Arch{
	specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
	specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
	specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
	specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB,
}

// architectures gives the ABIs that the filter lets in: the native one always,
// since OCI calls the list "additional", and no other unless it is listed.
func architectures(listed []specs.Arch) ([]Arch, error) {
	own := machine()
	if own == nil {
		return nil, fmt.Errorf("seccomp filters are not implemented for %s", runtime.GOARCH)
	}
	open := own[:1:1]
	for i, name := range listed {
		at := slices.IndexFunc(own, func(a Arch) bool { return a.Name == name })
		switch {
		case at > 0:
			if !slices.Contains(open, own[at]) {
				open = append(open, own[at])
			}
		case at < 0 && !slices.Contains(elsewhere, name):
			return nil, fmt.Errorf("architectures[%d]: unknown architecture %q (say it as in SCMP_ARCH_X86_64)", i, name)
		}
	}
	return open, nil
}
