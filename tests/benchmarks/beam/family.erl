%% A supervisor of counters, and the small things that the benchmarks share.
-module(family).
-behaviour(supervisor).
-export([start/0, start_child/1, init/1, find/1, ask/2, us/1, quantile/2, say/2]).

start() ->
    logger:set_primary_config(level, none), % crash reports cost more than the restarts
    ets:new(names, [public, named_table, {read_concurrency, true}]),
    {ok, Pid} = supervisor:start_link({local, ?MODULE}, ?MODULE, []),
    Pid.

init([]) ->
    Child = #{id => counter, start => {counter, start_link, []}},
    {ok, {#{strategy => simple_one_for_one, intensity => 1000000, period => 1}, [Child]}}.

start_child(Name) -> {ok, Pid} = supervisor:start_child(?MODULE, [Name]), Pid.

find(Name) -> ets:lookup_element(names, Name, 2).

%% Ask the life that follows Old, again and again until there is one that answers.
ask(Name, Old) ->
    case find(Name) of
        Old -> erlang:yield(), ask(Name, Old);
        New -> gen_server:call(New, add, infinity)
    end.

us(Began) -> erlang:convert_time_unit(erlang:monotonic_time() - Began, native, nanosecond) / 1000.

quantile(Sorted, Share) -> lists:nth(max(1, ceil(length(Sorted) * Share)), Sorted).

say(Format, Values) -> io:format(Format ++ "~n", Values).
