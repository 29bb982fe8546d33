package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"
)

const (
	// An evaluation that takes longer is answered with an error.
	evaluationTimeout = 20 * time.Second
	// Prepared queries and module sets kept; past it the cache starts anew.
	cacheEntries = 1024
)

// request is one line of input.
type request struct {
	ID json.RawMessage `json:"id"`
	// Modules by path. With Set they are remembered under that name; a later
	// line with the same Set may leave them out.
	Modules map[string]string `json:"modules"`
	Set     string            `json:"set"`
	// Query is any Rego query; Package is short for data.PACKAGE.violation.
	Query   string          `json:"query"`
	Package string          `json:"package"`
	Input   json.RawMessage `json:"input"`
	Data    json.RawMessage `json:"data"`
}

// answer is one line of output: exactly one of Result, Undefined and Error.
type answer struct {
	ID json.RawMessage `json:"id"`
	// Result is the value of the query's first expression; a Rego set is an
	// array in Rego's order.
	Result *any `json:"result,omitempty"`
	// Undefined is not the same as an empty result.
	Undefined bool   `json:"undefined,omitempty"`
	Error     string `json:"error,omitempty"`
}

type key [sha256.Size]byte

// evaluator keeps what is costly between lines.
type evaluator struct {
	sets      map[string]key
	modules   map[key]map[string]string
	compilers map[key]*ast.Compiler
	prepared  map[key]*rego.PreparedEvalQuery
}

func newEvaluator() *evaluator {
	return &evaluator{
		sets:      map[string]key{},
		modules:   map[key]map[string]string{},
		compilers: map[key]*ast.Compiler{},
		prepared:  map[key]*rego.PreparedEvalQuery{},
	}
}

// evaluateLines answers every line, in order. A line that cannot be read or
// evaluated is answered with an error and stops nothing.
func evaluateLines(in io.Reader, out io.Writer) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	writer := bufio.NewWriterSize(out, 1<<20)
	encoder := json.NewEncoder(writer)
	encoder.SetEscapeHTML(false)
	state := newEvaluator()
	for {
		line, err := reader.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			if failure := encoder.Encode(state.answer(line)); failure != nil {
				return failure
			}
		}
		if errors.Is(err, io.EOF) {
			return writer.Flush()
		}
		if err != nil {
			return err
		}
		// A caller that waits for this answer before it sends more must get it.
		if reader.Buffered() == 0 {
			if failure := writer.Flush(); failure != nil {
				return failure
			}
		}
	}
}

func (e *evaluator) answer(line []byte) (out answer) {
	out.ID = json.RawMessage("null")
	defer func() {
		if cause := recover(); cause != nil {
			out = answer{ID: out.ID, Error: fmt.Sprintf("panic: %v", cause)}
		}
	}()
	var asked request
	if err := json.Unmarshal(line, &asked); err != nil {
		out.Error = fmt.Sprintf("the line is not a request: %v", err)
		return out
	}
	if asked.ID != nil {
		out.ID = asked.ID
	}
	value, err := e.evaluate(&asked)
	switch {
	case errors.Is(err, errUndefined):
		out.Undefined = true
	case err != nil:
		out.Error = err.Error()
	default:
		out.Result = &value
	}
	return out
}

var errUndefined = errors.New("undefined")

func (e *evaluator) evaluate(asked *request) (any, error) {
	query := asked.Query
	if query == "" && asked.Package != "" {
		query = "data." + asked.Package + ".violation"
	}
	if query == "" {
		return nil, errors.New("neither query nor package is given")
	}
	prepared, err := e.prepare(asked, query)
	if err != nil {
		return nil, err
	}
	options := []rego.EvalOption{}
	if len(asked.Input) > 0 {
		input, err := ast.ValueFromReader(bytes.NewReader(asked.Input))
		if err != nil {
			return nil, fmt.Errorf("input: %w", err)
		}
		options = append(options, rego.EvalParsedInput(input))
	}
	ctx, cancel := context.WithTimeout(context.Background(), evaluationTimeout)
	defer cancel()
	results, err := prepared.Eval(ctx, options...)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(results[0].Expressions) == 0 {
		return nil, errUndefined
	}
	return results[0].Expressions[0].Value, nil
}

func (e *evaluator) prepare(asked *request, query string) (*rego.PreparedEvalQuery, error) {
	if len(e.prepared) > cacheEntries || len(e.modules) > cacheEntries {
		*e = evaluator{
			sets: e.sets, modules: e.modules,
			compilers: map[key]*ast.Compiler{}, prepared: map[key]*rego.PreparedEvalQuery{},
		}
	}
	set, err := e.moduleSet(asked)
	if err != nil {
		return nil, err
	}
	whole := digest(string(set[:]), query, string(asked.Data))
	if prepared, known := e.prepared[whole]; known {
		return prepared, nil
	}
	compiler, err := e.compiler(set)
	if err != nil {
		return nil, err
	}
	options := []func(*rego.Rego){
		rego.Query(query), rego.Compiler(compiler), rego.SetRegoVersion(ast.RegoV1),
	}
	if len(asked.Data) > 0 && string(asked.Data) != "null" {
		var data map[string]any
		if err := util.UnmarshalJSON(asked.Data, &data); err != nil {
			return nil, fmt.Errorf("data: %w", err)
		}
		options = append(options, rego.Store(inmem.NewFromObject(data)))
	}
	prepared, err := rego.New(options...).PrepareForEval(context.Background())
	if err != nil {
		return nil, err
	}
	e.prepared[whole] = &prepared
	return &prepared, nil
}

func (e *evaluator) moduleSet(asked *request) (key, error) {
	if asked.Modules == nil && asked.Set != "" {
		set, known := e.sets[asked.Set]
		if !known {
			return set, fmt.Errorf("the module set %q was not given before", asked.Set)
		}
		return set, nil
	}
	parts := []string{}
	for _, path := range slices.Sorted(maps.Keys(asked.Modules)) {
		parts = append(parts, path, asked.Modules[path])
	}
	set := digest(parts...)
	e.modules[set] = asked.Modules
	if asked.Set != "" {
		e.sets[asked.Set] = set
	}
	return set, nil
}

func (e *evaluator) compiler(set key) (*ast.Compiler, error) {
	if compiler, known := e.compilers[set]; known {
		return compiler, nil
	}
	compiler, err := ast.CompileModulesWithOpt(e.modules[set], ast.CompileOpts{
		ParserOptions: ast.ParserOptions{RegoVersion: ast.RegoV1},
	})
	if err != nil {
		return nil, err
	}
	e.compilers[set] = compiler
	return compiler, nil
}

// digest hashes each part after its length, so that no two splits are the same.
func digest(parts ...string) key {
	hasher := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hasher, "%d:%s", len(part), part)
	}
	return key(hasher.Sum(nil))
}
