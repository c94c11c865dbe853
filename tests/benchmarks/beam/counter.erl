%% The agent of every benchmark: a gen_server that counts.
%% With a name it writes itself into the table of names, so that it is found again after a restart.
-module(counter).
-behaviour(gen_server).
-export([start_link/1, init/1, handle_call/3, handle_cast/2]).

start_link(Name) -> gen_server:start_link(?MODULE, Name, []).

init(none) -> {ok, 0};
init(Name) -> ets:insert(names, {Name, self()}), {ok, 0}.

handle_call(add, _From, Count) -> {reply, Count + 1, Count + 1};
handle_call({talk, Other, Calls}, _From, Count) -> {reply, talk(Other, Calls), Count}.

handle_cast(crash, _Count) -> exit(boom).

talk(_Other, 0) -> ok;
talk(Other, Calls) -> gen_server:call(Other, add, infinity), talk(Other, Calls - 1).
