package profiles

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// probe tries what a program must not manage and prints a line for what it did manage:
//
//	read PATH       its text can be read
//	reach ADDRESS   a TCP connection stands, and the other side says something
//	write PATH      the text "written by the probe" can be added to it
func probe(attempts []string) int {
	for _, a := range attempts {
		verb, object, _ := strings.Cut(a, " ")
		if err := try(verb, object); err != nil {
			fmt.Printf("refused\t%s\t%v\n", a, err)
		} else {
			fmt.Printf("managed\t%s\n", a)
		}
	}
	return 0
}

const probeText = "written by the probe\n"

func try(verb, object string) error {
	switch verb {
	case "read":
		text, err := os.ReadFile(object)
		if err == nil && len(text) == 0 {
			return fmt.Errorf("empty")
		}
		return err
	case "reach":
		c, err := net.DialTimeout("tcp", object, 5*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		_, err = c.Read(make([]byte, 1))
		return err
	case "write":
		f, err := os.OpenFile(object, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		if err != nil {
			return err
		}
		_, err = f.WriteString(probeText)
		if e := f.Close(); err == nil {
			err = e
		}
		return err
	}
	return fmt.Errorf("no such attempt: %s", verb)
}
