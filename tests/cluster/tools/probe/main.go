// Command probe is everything that the smoke tests run in a pod: one static file, no shell.
//
//	pause          do nothing until told to end: the sandbox container of every pod
//	serve ADDRESS  answer GET / with the host name, and GET /fetch?url=U with what U answers
//	fetch URL      print what URL answers
//	resolve NAME   print the addresses of a name
//	hog MIB        fill that much memory, then wait
//	write FILE     write a line to a file, print what was wrong if that is refused
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	name, argument := "pause", ""
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	if len(os.Args) > 2 {
		argument = os.Args[2]
	}
	var err error
	switch name {
	case "pause":
		pause()
	case "serve":
		err = serve(argument)
	case "fetch":
		err = fetch(os.Stdout, argument)
	case "resolve":
		err = resolve(argument)
	case "hog":
		err = hog(argument)
	case "write":
		err = os.WriteFile(argument, []byte("written\n"), 0o600)
	default:
		err = fmt.Errorf("probe: no command %q", name)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// pause ends at once on SIGTERM, where process 1 without a handler would be waited for and then killed.
func pause() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, syscall.SIGINT)
	<-ended
}

func serve(address string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, host) })
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		if err := fetch(w, r.URL.Query().Get("url")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	fmt.Println("serving", address)
	go func() { pause(); os.Exit(0) }()
	return http.ListenAndServe(address, nil)
}

func fetch(out io.Writer, url string) error {
	client := http.Client{Timeout: 5 * time.Second}
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	_, err = io.Copy(out, answer.Body)
	return err
}

func resolve(name string) error {
	addresses, err := net.LookupHost(name)
	if err == nil {
		fmt.Println(strings.Join(addresses, "\n"))
	}
	return err
}

func hog(text string) error {
	mib, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	memory := make([]byte, mib<<20)
	for i := 0; i < len(memory); i += 4096 {
		memory[i] = 1
	}
	fmt.Println("filled", mib, "MiB")
	pause()
	return nil
}
