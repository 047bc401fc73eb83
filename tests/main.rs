
mod end_to_end;
mod tidy;
