// Command shoutrrr-peer sends one message to each URL of its input with the Go library shoutrrr, and prints the requests that it makes.
//
// Each line of the input is `kured URL` or `fork URL`: the version that kured uses (containrrr/shoutrrr), or the fork that lives on
// (nicholas-fedor/shoutrrr). Each line of the output is a JSON object with the URL and its requests, or with the library's error.
// No request leaves the process: the transport of net/http is replaced by one that notes them.
// A mail goes to a receiver of this process, whose port stands for PORT in the URL; the output has the lines that it was told.
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"

	kured "github.com/containrrr/shoutrrr/pkg/router"
	kuredgotify "github.com/containrrr/shoutrrr/pkg/services/gotify"
	kuredtypes "github.com/containrrr/shoutrrr/pkg/types"
	fork "github.com/nicholas-fedor/shoutrrr/pkg/router"
	forktypes "github.com/nicholas-fedor/shoutrrr/pkg/types"
)

// message is what is sent; it has what JSON, HTML and forms write in their own way.
const message = `Draining node n-1 & "co" <ü>`

type request struct {
	Method  string            `json:"method"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
	Body    string            `json:"body"`
}

type sent struct {
	Library  string    `json:"library"`
	URL      string    `json:"url"`
	Requests []request `json:"requests,omitempty"`
	Lines    []string  `json:"lines,omitempty"`
	Error    string    `json:"error,omitempty"`
}

// recorder notes each request, and answers as each service's own API would if all is well.
type recorder struct{ requests []request }

// answer is one object that every service takes for a success.
const answer = `{"ok":true,"code":0,"errcode":0,"status":"success","result":{},"access_token":"token-of-login",` +
	`"flows":[{"type":"m.login.password"}],"joined_rooms":["!joined:example.com"],"room_id":"!room:example.com","event_id":"e"}`

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	body := []byte{}
	if req.Body != nil {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
	}
	headers := map[string]string{}
	for name, values := range req.Header {
		headers[strings.ToLower(name)] = strings.Join(values, ", ")
	}
	// net/http makes this header from the URL, in the transport that is replaced here.
	if user := req.URL.User; user != nil && headers["authorization"] == "" {
		copied := http.Request{Header: http.Header{}}
		password, _ := user.Password()
		copied.SetBasicAuth(user.Username(), password)
		headers["authorization"] = copied.Header.Get("Authorization")
	}
	url := *req.URL
	url.User = nil
	r.requests = append(r.requests, request{req.Method, url.String(), headers, string(body)})
	status, text := http.StatusOK, answer
	switch {
	case strings.Contains(url.Host, "discord"):
		status, text = http.StatusNoContent, ""
	case strings.Contains(url.Host, "hooks.slack.com"):
		text = "ok"
	case strings.HasSuffix(url.Path, "/push"):
		text = `{"code":200}`
	}
	return &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d OK", status), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewBufferString(text)), Request: req,
	}, nil
}

func send(library, url string) error {
	switch library {
	case "kured":
		service, err := (&kured.ServiceRouter{}).Locate(url)
		if err != nil {
			return err
		}
		// Its client has a transport of its own.
		if gotify, ok := service.(*kuredgotify.Service); ok {
			gotify.GetHTTPClient().Transport = http.DefaultTransport
		}
		return service.Send(message, &kuredtypes.Params{})
	case "fork":
		service, err := (&fork.ServiceRouter{}).Locate(url)
		if err != nil {
			return err
		}
		return service.Send(message, &forktypes.Params{})
	default:
		return fmt.Errorf("no library %q: write kured or fork", library)
	}
}

// mail sends a message to a receiver of this process, and returns what that was told.
func mail(library, url string) ([]string, error) {
	receiver, err := newReceiver()
	if err != nil {
		return nil, err
	}
	err = send(library, strings.ReplaceAll(url, "PORT", receiver.port()))
	return receiver.end(), err
}

func main() {
	// The library prints to standard output here and there.
	output := os.Stdout
	var err error
	if os.Stdout, err = os.OpenFile(os.DevNull, os.O_WRONLY, 0); err != nil {
		fmt.Fprintln(os.Stderr, "shoutrrr-peer:", err)
		os.Exit(2)
	}
	log.SetOutput(io.Discard)
	lines := bufio.NewScanner(os.Stdin)
	encoder := json.NewEncoder(output)
	encoder.SetEscapeHTML(false)
	for lines.Scan() {
		library, url, found := strings.Cut(lines.Text(), " ")
		if !found {
			continue
		}
		noted := &recorder{requests: []request{}}
		http.DefaultTransport = noted
		http.DefaultClient.Transport = noted
		line := sent{Library: library, URL: url}
		if strings.HasPrefix(url, "smtp:") {
			line.Lines, err = mail(library, url)
		} else {
			err = send(library, url)
			line.Requests = noted.requests
		}
		if err != nil {
			line.Error = err.Error()
		}
		if err := encoder.Encode(line); err != nil {
			fmt.Fprintln(os.Stderr, "shoutrrr-peer:", err)
			os.Exit(2)
		}
	}
}
