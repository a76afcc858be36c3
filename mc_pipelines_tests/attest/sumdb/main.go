// Command sumdb judges our log with Go's own implementation (golang.org/x/mod/sumdb).
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type input struct {
	VerifierKey string
	Note        string
	Size        int64
	Root        []byte
	OldSize     int64
	OldRoot     []byte
	Consistency [][]byte
	Inclusion   []struct {
		Index int64
		Leaf  []byte
		Proof [][]byte
	}
}

func hash(content []byte) (result tlog.Hash) {
	copy(result[:], content)
	return result
}

func hashes(contents [][]byte) (result []tlog.Hash) {
	for _, one := range contents {
		result = append(result, hash(one))
	}
	return result
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var given input
	check(json.NewDecoder(os.Stdin).Decode(&given))
	verifier, err := note.NewVerifier(given.VerifierKey)
	check(err)
	_, err = note.Open([]byte(given.Note), note.VerifierList(verifier))
	check(err)
	root := hash(given.Root)
	for _, one := range given.Inclusion {
		check(tlog.CheckRecord(hashes(one.Proof), given.Size, root, one.Index, hash(one.Leaf)))
	}
	check(tlog.CheckTree(hashes(given.Consistency), given.Size, root, given.OldSize, hash(given.OldRoot)))
	fmt.Println(len(given.Inclusion))
}
