package node

import "strings"

// oneLine is an error that a person reads in one line, however many were joined in it.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.ReplaceAll(e.error.Error(), "\n", "; ") }

func (e oneLine) Unwrap() error { return e.error }

// inOneLine makes an error one of one line; nil stays nil.
func inOneLine(err error) error {
	if err == nil {
		return nil
	}
	return oneLine{err}
}
