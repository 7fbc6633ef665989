package integration

import (
	"reflect"
	"runtime"
	"strings"
	"testing"
)

type propertyCases []func(*testing.T)

// TestProperties is what a sandbox must hold, a case each: in the default profile, by an ordinary user, and beside a
// control run in which the same thing does go through without the sandbox. Egress rules are proved in test/net, control
// groups in test/guest.
func TestProperties(t *testing.T) {
	for _, property := range []struct {
		words string
		cases propertyCases
	}{
		{"a planted link leads nothing of the host astray", propertyCases{plantedLinksLeadNowhere}},
		{"what is mounted is what was looked at", propertyCases{swappedLinksLeadNowhere}},
		{"the program holds its three streams and no other descriptor", propertyCases{closesInheritedDescriptors, fillsClosedStreams}},
		{"the caller's environment, command line and profiles cannot be read", propertyCases{hidesWhatIsTheUsers, tellsNothingOfTheCaller}},
		{"the caller's terminal is out of reach, and as it was at the end", propertyCases{hasATerminalOfItsOwn, restoresTheTerminal}},
		{"every privilege is gone, and none can be gained", propertyCases{takesEveryPrivilege, inheritsNoCapability, gainsNothingFromSetUserID}},
		{"there is no user namespace to be had, by any call and any ABI", propertyCases{makesNoUserNamespace}},
		{"system calls are an allow-list", propertyCases{closesDangerousCalls}},
		{"the host's network, loopback and abstract sockets are out of reach", propertyCases{cutsOffTheHost}},
		{"shared memory, message queues and keys are the sandbox's own", propertyCases{hasIPCOfItsOwn}},
		{"proc, sys and dev are small, folders for temporary files its own", propertyCases{hasSystemFoldersOfItsOwn}},
		{"a fault of the set-up is the end of the start", propertyCases{failsClosed}},
		{"nothing outlives the supervisor or the caller", propertyCases{diesWithTheSupervisor, diesWithTheCaller}},
		{"exit codes are exact, signals are as new", propertyCases{passesExitCodes, resetsSignals}},
		{"a doubtful profile is an error, an empty list grants nothing", propertyCases{refusesDoubtfulProfiles, takesEmptyAsNothing}},
		{"deny wins through every alias of a path", propertyCases{hidesThroughEveryAlias}},
		{"jail's own files are never writable", propertyCases{keepsJailsOwnFiles}},
		{"jail refuses to run with privileges", propertyCases{refusesFileCapabilities}},
	} {
		t.Run(property.words, func(t *testing.T) {
			for _, f := range property.cases {
				name := runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name()
				t.Run(name[strings.LastIndexByte(name, '.')+1:], f)
			}
		})
	}
}
