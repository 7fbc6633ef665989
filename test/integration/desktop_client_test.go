package integration

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// busObservation is what a program on the session bus sees: it is made outside, as the control, and inside.
func busObservation(what string) string {
	conn, err := dbus.ConnectSessionBus()
	if err != nil {
		return "no bus: " + err.Error()
	}
	defer conn.Close()
	bus := conn.BusObject()
	name, _, _ := strings.Cut(what, "/")
	switch what {
	case "notify":
		var id uint32
		err = conn.Object("org.freedesktop.Notifications", "/org/freedesktop/Notifications").Call("org.freedesktop.Notifications.Notify", 0,
			"jail", uint32(0), "", "a title", "a text", []string{}, map[string]dbus.Variant{}, int32(0)).Store(&id)
		return busVerdict(err)
	case "org.freedesktop.systemd1", "org.example.Secret":
		return busVerdict(conn.Object(name, "/").Call(name+".Do", 0).Err)
	case "activate":
		return busVerdict(bus.Call("org.freedesktop.DBus.StartServiceByName", 0, "org.example.Starter", uint32(0)).Err)
	case "call-activate":
		return busVerdict(conn.Object("org.example.Starter", "/").Call("org.example.Starter.Do", 0).Err)
	case "environment":
		return busVerdict(bus.Call("org.freedesktop.DBus.UpdateActivationEnvironment", 0, map[string]string{"LD_PRELOAD": "/tmp/x"}).Err)
	case "own":
		reply, err := conn.RequestName("org.example.Mine", dbus.NameFlagDoNotQueue)
		if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
			err = errors.New("not the owner")
		}
		return busVerdict(err)
	case "monitor":
		return busVerdict(bus.Call("org.freedesktop.DBus.Monitoring.BecomeMonitor", 0, []string{}, uint32(0)).Err)
	case "eavesdrop":
		if err := bus.Call("org.freedesktop.DBus.AddMatch", 0, "eavesdrop=true").Err; err != nil {
			return busVerdict(err)
		}
		heard := make(chan *dbus.Message, 1000)
		conn.Eavesdrop(heard) // replies go there too, from now on
		// A signal that goes to another program, every few milliseconds: see talkSecretly.
		deadline := time.After(3 * time.Second)
		for {
			select {
			case m := <-heard:
				if len(m.Body) > 0 && m.Body[0] == "a secret between others" {
					return "yes"
				}
			case <-deadline:
				return "nothing heard"
			}
		}
	case "names":
		var names []string
		if err := bus.Call("org.freedesktop.DBus.ListNames", 0).Store(&names); err != nil {
			return busVerdict(err)
		}
		var known []string
		for _, n := range names {
			if !strings.HasPrefix(n, ":") {
				known = append(known, n)
			}
		}
		return strings.Join(known, " ")
	case "choose-file":
		return portalRequest(conn, "org.freedesktop.portal.FileChooser.OpenFile")
	case "open-uri":
		return portalRequest(conn, "org.freedesktop.portal.OpenURI.OpenURI")
	case "autostart":
		return portalRequest(conn, "org.freedesktop.portal.Background.RequestBackground")
	case "screenshot":
		return portalRequest(conn, "org.freedesktop.portal.Screenshot.Screenshot")
	}
	return "no such observation"
}

// portalRequest makes a request and waits for the answer, which comes as a signal to the caller alone.
func portalRequest(conn *dbus.Conn, method string) string {
	signals := make(chan *dbus.Signal, 10)
	conn.Signal(signals)
	if err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.portal.Request")); err != nil {
		return busVerdict(err)
	}
	portal := conn.Object("org.freedesktop.portal.Desktop", "/org/freedesktop/portal/desktop")
	var handle dbus.ObjectPath
	if err := portal.Call(method, 0, "", "title", map[string]dbus.Variant{}).Store(&handle); err != nil {
		return busVerdict(err)
	}
	late := time.After(10 * time.Second)
	for {
		select {
		case s := <-signals:
			if s.Name == "org.freedesktop.portal.Request.Response" {
				return fmt.Sprint(s.Body[0])
			}
		case <-late:
			return "no answer"
		}
	}
}

func busVerdict(err error) string {
	if err == nil {
		return "yes"
	}
	var e dbus.Error
	if errors.As(err, &e) {
		return strings.TrimPrefix(e.Name, "org.freedesktop.DBus.Error.")
	}
	return err.Error()
}

// A desk is a session bus with services on it, as a desktop session has them.
type desk struct {
	conn    *dbus.Conn
	arrived chan string // what the services were asked
}

func (d *desk) Notify(_ string, _ uint32, _, title, text string, _ []string, _ map[string]dbus.Variant, _ int32) (uint32, *dbus.Error) {
	d.arrived <- title + ": " + text
	return 7, nil
}

// Do stands for anything that a service does for whoever asks.
func (d *desk) Do() *dbus.Error {
	d.arrived <- "do"
	return nil
}

// portal answers every request at once, to the one who asked.
type portal struct{ *desk }

func (p portal) request(sender dbus.Sender, what string) (dbus.ObjectPath, *dbus.Error) {
	p.arrived <- what
	path := dbus.ObjectPath("/org/freedesktop/portal/desktop/request/" + strings.NewReplacer(":", "", ".", "_").Replace(string(sender)) + "/t1")
	go func() {
		m := &dbus.Message{Type: dbus.TypeSignal, Headers: map[dbus.HeaderField]dbus.Variant{
			dbus.FieldPath: dbus.MakeVariant(path), dbus.FieldInterface: dbus.MakeVariant("org.freedesktop.portal.Request"),
			dbus.FieldMember: dbus.MakeVariant("Response"), dbus.FieldDestination: dbus.MakeVariant(string(sender)),
			dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf(uint32(0))),
		}, Body: []any{uint32(0)}}
		p.conn.Send(m, nil)
	}()
	return path, nil
}

func (p portal) OpenFile(s dbus.Sender, _, _ string, _ map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	return p.request(s, "OpenFile")
}

func (p portal) OpenURI(s dbus.Sender, _, _ string, _ map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	return p.request(s, "OpenURI")
}

func (p portal) RequestBackground(s dbus.Sender, _, _ string, _ map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	return p.request(s, "RequestBackground")
}

func (p portal) Screenshot(s dbus.Sender, _, _ string, _ map[string]dbus.Variant) (dbus.ObjectPath, *dbus.Error) {
	return p.request(s, "Screenshot")
}
