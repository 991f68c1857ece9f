package main

import (
	"bufio"
	"fmt"
	"net"
	"regexp"
	"sort"
	"strings"
	"sync"
)

// receiver is a mail server without TLS that takes every mail, and notes what it is told.
type receiver struct {
	listener net.Listener
	mutex    sync.Mutex
	lines    []string
	open     sync.WaitGroup
}

// newReceiver starts a receiver on a free port of this machine.
func newReceiver() (*receiver, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{listener: listener}
	r.open.Add(1)
	go func() {
		defer r.open.Done()
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.open.Add(1)
			go r.talk(conn)
		}
	}()
	return r, nil
}

// port is the port that it listens on.
func (r *receiver) port() string {
	_, port, _ := net.SplitHostPort(r.listener.Addr().String())
	return port
}

// end closes the receiver, and returns what it was told, in a form that is the same each time.
func (r *receiver) end() []string {
	r.listener.Close()
	r.open.Wait()
	return plain(r.lines)
}

func (r *receiver) note(line string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.lines = append(r.lines, line)
}

// talk speaks SMTP until the client ends.
func (r *receiver) talk(conn net.Conn) {
	defer r.open.Done()
	defer conn.Close()
	fmt.Fprint(conn, "220 hello\r\n")
	isMail := false
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := strings.TrimRight(lines.Text(), " \r\n")
		r.note(line)
		word, _, _ := strings.Cut(strings.ReplaceAll(line, ":", " "), " ")
		answer := "250 ok"
		switch {
		case isMail && line != ".":
			continue
		case isMail:
			isMail = false
		case word == "EHLO":
			answer = "250-me\r\n250 AUTH PLAIN XOAUTH2"
		case word == "AUTH":
			answer = "235 known"
		case word == "DATA":
			isMail, answer = true, "354 go on"
		case word == "QUIT":
			answer = "221 bye"
		}
		fmt.Fprint(conn, answer+"\r\n")
	}
}

var boundary = regexp.MustCompile(`boundary="?([^";\s]+)"?`)

// plain sorts the headers of each mail, whose order is that of a map, and names what is random or a time.
func plain(lines []string) []string {
	found := boundary.FindStringSubmatch(strings.Join(lines, "\n"))
	begin := -1
	for at, line := range lines {
		switch {
		case line == "DATA":
			begin = at + 1
		case begin >= 0 && line == "":
			sort.Strings(lines[begin:at])
			begin = -1
		}
		if begin >= 0 && strings.HasPrefix(line, "Date: ") {
			lines[at] = "Date: DATE"
		}
		if found != nil {
			lines[at] = strings.ReplaceAll(lines[at], found[1], "BOUNDARY")
		}
	}
	return lines
}
