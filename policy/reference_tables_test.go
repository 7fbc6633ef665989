package policy

import (
	"reflect"
	"strings"
)

// referenceTables gives the tables of docs/profile-reference.md by name, made
// from the types that the decoder fills and the tables that Resolve reads.
func referenceTables() map[string]string {
	tables := map[string]string{
		"profile":          keyTable(reflect.TypeFor[Document]()),
		"when":             keyTable(reflect.TypeFor[When]()),
		"when block":       keyTable(reflect.TypeFor[WhenBlock]()),
		"without":          keyTable(reflect.TypeFor[Without]()),
		"namespaces":       keyTable(reflect.TypeFor[NamespaceItem]()),
		"filesystem":       keyTable(reflect.TypeFor[FilesystemItem]()),
		"tmpfs":            keyTable(reflect.TypeFor[TmpfsSpec]()),
		"overlay":          keyTable(reflect.TypeFor[OverlaySpec]()),
		"content":          keyTable(reflect.TypeFor[ContentSpec]()),
		"dir":              keyTable(reflect.TypeFor[DirSpec]()),
		"desktop":          keyTable(reflect.TypeFor[DesktopSection]()),
		"dbus":             keyTable(reflect.TypeFor[DBusSection]()),
		"dbus.system":      keyTable(reflect.TypeFor[SystemBusSection]()),
		"environment":      keyTable(reflect.TypeFor[EnvironmentSection]()),
		"limits":           keyTable(reflect.TypeFor[LimitsSection]()),
		"limits.io":        keyTable(reflect.TypeFor[IOItem]()),
		"syscalls":         keyTable(reflect.TypeFor[SyscallsSection]()),
		"syscalls.rules":   keyTable(reflect.TypeFor[SyscallItem]()),
		"syscalls.args":    keyTable(reflect.TypeFor[ArgItem]()),
		"network":          keyTable(reflect.TypeFor[NetworkSection]()),
		"network.egress":   keyTable(reflect.TypeFor[EgressItem]()),
		"network.dns":      keyTable(reflect.TypeFor[DNSSection]()),
		"bandwidth":        keyTable(reflect.TypeFor[BandwidthSection]()),
		"process":          keyTable(reflect.TypeFor[ProcessSection]()),
		"id-ranges":        keyTable(reflect.TypeFor[IDRangeItem]()),
		"rlimits":          wordTable("limit", rlimitDocs[:]),
		"enforcement":      layerTable(),
		"system call sets": groupTable(),
		"device sets":      deviceTable(),
	}
	return tables
}

// keyTable is a table of the keys of a mapping.
func keyTable(t reflect.Type) string {
	var b strings.Builder
	b.WriteString("| key | value | meaning |\n| --- | --- | --- |\n")
	for _, f := range docFields(t) {
		key := "`" + f.key + "`"
		if f.required {
			key += " (required)"
		}
		b.WriteString("| " + key + " | " + cell(valueText(f.typ, f.field)) + " | " + cell(f.doc) + " |\n")
	}
	return b.String()
}

// cell is a text as a cell of a Markdown table, which it neither ends nor sets in italics.
func cell(s string) string { return strings.NewReplacer("|", `\|`, "*", `\*`).Replace(s) }

// valueText says in a few words what a key takes.
func valueText(t reflect.Type, f field) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch reflect.New(t).Interface().(type) {
	case *Text:
		if f.enum != "" {
			return strings.ReplaceAll(f.enum, ",", ", ")
		}
		switch f.as {
		case "limit-size", "rlimit":
			return "size or max"
		case "limit-count":
			return "number or max"
		case "mode":
			return "octal, in quotes"
		case "cpu":
			return "percent or number"
		case "cpuset":
			return "list of numbers"
		case "rate", "bitrate", "ops":
			return "rate"
		case "word", "hostname", "action", "":
			return "text"
		}
		return f.as
	case *Flag:
		return "true, false"
	case *Number:
		return "number"
	case lister:
		return "list"
	case mapper:
		return "mapping"
	case *TmpfsSpec, *DirSpec:
		return "true or mapping"
	case *OverlaySpec:
		return "discard or mapping"
	case *ContentSpec:
		return "text or mapping"
	case *IDRangesSpec:
		return "auto or mapping"
	}
	return "mapping"
}

func wordTable(head string, rows [][2]string) string {
	var b strings.Builder
	b.WriteString("| " + head + " | meaning |\n| --- | --- |\n")
	for _, r := range rows {
		b.WriteString("| `" + r[0] + "` | " + cell(r[1]) + " |\n")
	}
	return b.String()
}

func layerTable() string {
	var b strings.Builder
	b.WriteString("| layer | beside require | meaning |\n| --- | --- | --- |\n")
	for _, l := range layers {
		b.WriteString("| `" + l.name + "` | " + orElse(strings.Join(l.levels, ", "), "nothing") + " | " + cell(l.doc) + " |\n")
	}
	return b.String()
}

func groupTable() string {
	rows := make([][2]string, len(syscallGroups))
	for i := range syscallGroups {
		rows[i] = [2]string{syscallGroups[i].name, syscallGroups[i].doc}
	}
	return wordTable("set", rows)
}

func deviceTable() string {
	rows := make([][2]string, len(deviceSets))
	for i := range deviceSets {
		rows[i] = [2]string{deviceSets[i].name, deviceSets[i].doc}
	}
	return wordTable("set", rows)
}

// rlimitDocs are the limits of setrlimit(2) with what they count.
var rlimitDocs = [...][2]string{
	{"as", "address space, bytes"},
	{"core", "size of a core file, bytes; 0 for none"},
	{"cpu", "processor time, seconds or a time with its unit"},
	{"data", "data segment, bytes"},
	{"fsize", "size of a file written, bytes"},
	{"locks", "file locks"},
	{"memlock", "memory locked into RAM, bytes"},
	{"msgqueue", "POSIX message queues, bytes"},
	{"nice", "ceiling of the nice value, as 20 minus it"},
	{"nofile", "open descriptors"},
	{"nproc", "processes of the user, those outside the sandbox too; limits.pids counts the sandbox alone"},
	{"rss", "resident memory, bytes (without effect today)"},
	{"rtprio", "real-time priority"},
	{"rttime", "real-time processor time without a blocking call, microseconds"},
	{"sigpending", "queued signals"},
	{"stack", "main thread's stack, bytes"},
}
