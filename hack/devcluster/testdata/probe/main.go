// Command probe is what the end-to-end test runs in Pods. `probe serve DIR` writes a token into DIR/token,
// if there is none, and serves it with the host's name; `probe get URL` prints what URL answers.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

func main() {
	err := errors.New("use: probe serve DIR | probe get URL")
	if len(os.Args) == 3 && os.Args[1] == "serve" {
		err = serve(os.Args[2])
	} else if len(os.Args) == 3 && os.Args[1] == "get" {
		err = get(os.Args[2])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "probe:", err)
		os.Exit(1)
	}
}

func serve(dir string) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	file := filepath.Join(dir, "token")
	token, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		token = fmt.Appendf(nil, "%d", time.Now().UnixNano())
		err = os.WriteFile(file, token, 0o644)
	}
	if err != nil {
		return err
	}
	return http.ListenAndServe(":8080", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "%s %s %d", host, token, os.Getuid())
	}))
}

func get(url string) error {
	client := http.Client{Timeout: 3 * time.Second}
	res, err := client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}
