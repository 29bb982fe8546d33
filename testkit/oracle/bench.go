package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
)

// timing is the answer to one request of `oracle bench`, in nanoseconds for all rounds together.
type timing struct {
	ID json.RawMessage `json:"id"`
	// Parse is reading the input; Prepared is evaluating a prepared query on parsed input; Unprepared is
	// preparing the query over compiled modules, and evaluating it, each time.
	Parse      int64  `json:"parseNs"`
	Prepared   int64  `json:"preparedNs"`
	Unprepared int64  `json:"unpreparedNs"`
	Rounds     int    `json:"rounds"`
	Error      string `json:"error,omitempty"`
}

const defaultRounds = 10

// benchLines times every request of stdin, as often as its `rounds` says, and answers each before it reads the next, so
// that a caller can measure something else in between.
func benchLines(in io.Reader, out io.Writer) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	encoder := json.NewEncoder(out)
	state := newEvaluator()
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if failure := encoder.Encode(state.timed(line)); failure != nil {
				return failure
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (e *evaluator) timed(line []byte) timing {
	var asked struct {
		request
		Rounds int `json:"rounds"`
	}
	out := timing{ID: json.RawMessage("null")}
	if err := json.Unmarshal(line, &asked); err != nil {
		out.Error = fmt.Sprintf("the line is not a request: %v", err)
		return out
	}
	if asked.ID != nil {
		out.ID = asked.ID
	}
	out.Rounds = asked.Rounds
	if out.Rounds < 1 {
		out.Rounds = defaultRounds
	}
	if err := e.time(&asked.request, &out); err != nil {
		out.Error = err.Error()
	}
	return out
}

func (e *evaluator) time(asked *request, out *timing) error {
	query := asked.Query
	if query == "" {
		query = "data." + asked.Package + ".violation"
	}
	prepared, err := e.prepare(asked, query)
	if err != nil {
		return err
	}
	set, err := e.moduleSet(asked)
	if err != nil {
		return err
	}
	compiler, err := e.compiler(set)
	if err != nil {
		return err
	}
	var input ast.Value
	began := time.Now()
	for range out.Rounds {
		if input, err = ast.ValueFromReader(bytes.NewReader(asked.Input)); err != nil {
			return fmt.Errorf("input: %w", err)
		}
	}
	out.Parse = time.Since(began).Nanoseconds()
	background := context.Background()
	began = time.Now()
	for range out.Rounds {
		if _, err := prepared.Eval(background, rego.EvalParsedInput(input)); err != nil {
			return err
		}
	}
	out.Prepared = time.Since(began).Nanoseconds()
	began = time.Now()
	for range out.Rounds {
		fresh := rego.New(
			rego.Query(query), rego.Compiler(compiler), rego.SetRegoVersion(ast.RegoV1), rego.ParsedInput(input),
		)
		if _, err := fresh.Eval(background); err != nil {
			return err
		}
	}
	out.Unprepared = time.Since(began).Nanoseconds()
	return nil
}
