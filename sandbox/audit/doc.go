// Package audit shows on the machine at hand what a sandbox holds. It plants bait outside (files, a process, sockets,
// System V objects, a key, variables), runs a probe twice, without a sandbox and inside one, and compares.
//
//	Plant --> Bait --Look(nil)------> findings outside (the control run)
//	              --Look(launcher)--> findings inside --Judge--> Report
//
// What also holds outside proves nothing of the sandbox and is said to. What the profile means to allow is told from
// its OCI spec by Promises, and is no failure. The probe is a static program of its own, ./jail-probe, which this
// package carries; the checks are in there, a file a group.
package audit
