//! The console and the API over real HTTP: who gets in, what pages say, and that numbers agree.

mod access;
mod evidence;
mod fleet;
mod html;
mod http;
mod numbers;
mod pages;
mod paging;
mod parameters;
