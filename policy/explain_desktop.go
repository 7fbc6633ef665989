package policy

// lines says what of the session the program reaches.
func (d *Desktop) lines() []string {
	var lines []string
	add := func(on bool, text string) {
		if on {
			lines = append(lines, text)
		}
	}
	add(d.Compositor != nil, "the Wayland display, without what would let it watch or steer other programs")
	add(d.Wayland.V && d.Compositor == nil, "the Wayland display, which this session does not have")
	if x := d.Display; x != nil {
		add(x.Server != "", "an X11 display of its own, in a window that "+x.Server+" shows")
		add(x.Server == "", "the session's X11 display, where it reads every key, sees every window and types into each of them")
	}
	add(d.X11.Set && d.X11.V != "off" && d.X11.V != "fallback" && d.Display == nil, "an X11 display, which this session does not have")
	add(d.PulseAudio.V, "sound in and out, through PulseAudio")
	add(d.PipeWire.V, "sound in and out and cameras, through PipeWire")
	add(d.Printing.V, "the printing service")
	add(d.Links.V, "your browser and mail program, to open http, https and mailto links in them")
	return append(lines, d.busLines()...)
}

func (d *Desktop) busLines() []string {
	var lines []string
	note := ""
	if d.Buses == nil {
		note = ", which is not there"
	}
	for _, f := range []struct {
		flag Flag
		text string
	}{
		{d.Notifications, "notifications"},
		{d.Keyring, "the password store of the session, every password in it"},
		{d.Portals, "the portals: files that you choose for it, the desktop's settings, notifications, printing"},
	} {
		if f.flag.V {
			lines = append(lines, f.text+", through the session bus"+note)
		}
	}
	for _, bus := range []struct {
		name   string
		access *BusAccess
	}{{"session", &d.Session}, {"system", &d.System}} {
		for _, list := range []struct {
			names         []Named
			before, after string
		}{
			{bus.access.Talk, "", ""}, {bus.access.Own, "the name ", ", for itself,"}, {bus.access.See, "whether there is ", ","},
			{bus.access.Call, "", " and nothing else of it,"}, {bus.access.Broadcast, "the signals ", ","},
		} {
			for _, n := range list.names {
				lines = append(lines, list.before+n.Name+list.after+" on the "+bus.name+" bus")
			}
		}
	}
	return lines
}
