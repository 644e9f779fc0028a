//! Reports as Parquet files, for whatever reads tables: DuckDB, Spark, pandas.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::{Type, TypePtr};

use super::table_rows::{Cell, Row, case_rows, generation_rows};
use crate::report::Report;
use crate::{Error, Result};

/// Rows that are held in memory before they are written.
const GROUP_ROWS: usize = 20_000;

/// A folder with `cases.parquet` and `generations.parquet`, under construction.
pub struct ParquetFolder {
    cases: Table,
    generations: Table,
}

impl ParquetFolder {
    /// Begins the files in `folder`, which is made if it is missing.
    ///
    /// # Errors
    /// `Io`.
    pub fn create(folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        Ok(Self {
            cases: Table::new(folder.join("cases.parquet")),
            generations: Table::new(folder.join("generations.parquet")),
        })
    }

    /// Appends the rows of `report`.
    ///
    /// # Errors
    /// `Io`.
    pub fn add(&mut self, report: &Report) -> Result<()> {
        case_rows(report).try_for_each(|row| self.cases.push(row))?;
        generation_rows(report).try_for_each(|row| self.generations.push(row))
    }

    /// Writes what is left and gives the files their names. Without a single row there is no file.
    ///
    /// # Errors
    /// `Io`.
    pub fn finish(self) -> Result<()> {
        self.cases.finish()?;
        self.generations.finish()
    }
}

/// One file under its temporary name, and the rows that are not in it yet.
struct Table {
    path: PathBuf,
    part: PathBuf,
    rows: Vec<Row>,
    writer: Option<SerializedFileWriter<File>>,
}

impl Table {
    fn new(path: PathBuf) -> Self {
        let part = drafthorse_pack::sibling(&path, "part");
        Self { path, part, rows: Vec::new(), writer: None }
    }

    fn push(&mut self, row: Row) -> Result<()> {
        self.rows.push(row);
        if self.rows.len() >= GROUP_ROWS { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let failed = |error: ParquetError| Error::Io { path: self.path.clone(), source: std::io::Error::other(error) };
        let Some(first) = self.rows.first() else { return Ok(()) };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            slot => {
                let file = File::create(&self.part).map_err(Error::io(&self.part))?;
                let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
                let schema = schema(first).map_err(failed)?;
                slot.insert(SerializedFileWriter::new(file, schema, Arc::new(properties)).map_err(failed)?)
            }
        };
        let mut group = writer.next_row_group().map_err(failed)?;
        write_columns(&mut group, &self.rows).map_err(failed)?;
        group.close().map_err(failed)?;
        self.rows.clear();
        Ok(())
    }

    fn finish(mut self) -> Result<()> {
        self.flush()?;
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let failed = |error: ParquetError| Error::Io { path: self.path.clone(), source: std::io::Error::other(error) };
        writer.close().map_err(failed)?;
        std::fs::rename(&self.part, &self.path).map_err(Error::io(&self.path))
    }
}

impl Drop for Table {
    /// A file that was not finished is of no use to anybody.
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.part);
    }
}

fn schema(row: &Row) -> Result<TypePtr, ParquetError> {
    let column = |(name, cell): &(&str, Cell)| {
        let (physical, converted, repetition) = match cell {
            Cell::Text(_) => (Physical::BYTE_ARRAY, ConvertedType::UTF8, Repetition::OPTIONAL),
            Cell::Number(_) => (Physical::DOUBLE, ConvertedType::NONE, Repetition::OPTIONAL),
            Cell::Count(_) => (Physical::INT64, ConvertedType::NONE, Repetition::OPTIONAL),
            Cell::Flag(_) => (Physical::BOOLEAN, ConvertedType::NONE, Repetition::REQUIRED),
        };
        let builder = Type::primitive_type_builder(name, physical).with_converted_type(converted);
        Ok(Arc::new(builder.with_repetition(repetition).build()?))
    };
    let columns = row.iter().map(column).collect::<Result<Vec<_>, ParquetError>>()?;
    Ok(Arc::new(Type::group_type_builder("drafthorse_bench").with_fields(columns).build()?))
}

fn write_columns(group: &mut SerializedRowGroupWriter<'_, File>, rows: &[Row]) -> Result<(), ParquetError> {
    let mut place = 0;
    while let Some(mut column) = group.next_column()? {
        let cells = || rows.iter().map(|row| &row[place].1);
        match &rows[0][place].1 {
            Cell::Text(_) => {
                let values = optional(cells(), |cell| match cell {
                    Cell::Text(text) => text.as_ref().map(|text| ByteArray::from(text.as_str())),
                    _ => None,
                });
                column.typed::<ByteArrayType>().write_batch(&values.0, Some(&values.1), None)?;
            }
            Cell::Number(_) => {
                let values = optional(cells(), |cell| if let Cell::Number(value) = cell { *value } else { None });
                column.typed::<DoubleType>().write_batch(&values.0, Some(&values.1), None)?;
            }
            Cell::Count(_) => {
                let values = optional(cells(), |cell| if let Cell::Count(value) = cell { *value } else { None });
                column.typed::<Int64Type>().write_batch(&values.0, Some(&values.1), None)?;
            }
            Cell::Flag(_) => {
                let values: Vec<bool> = cells().map(|cell| matches!(cell, Cell::Flag(true))).collect();
                column.typed::<BoolType>().write_batch(&values, None, None)?;
            }
        }
        column.close()?;
        place += 1;
    }
    Ok(())
}

/// The values that are there, and for every cell whether it is.
fn optional<'a, T>(cells: impl Iterator<Item = &'a Cell>, value: impl Fn(&Cell) -> Option<T>) -> (Vec<T>, Vec<i16>) {
    let all: Vec<Option<T>> = cells.map(value).collect();
    let levels = all.iter().map(|value| i16::from(value.is_some())).collect();
    (all.into_iter().flatten().collect(), levels)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;
    use crate::case::tests::run;
    use crate::fixture::report;

    #[test]
    fn what_was_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let report = report(run());
        let mut out = ParquetFolder::create(folder.path()).unwrap();
        out.add(&report).unwrap();
        out.add(&report).unwrap();
        out.finish().unwrap();
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "{names:?}");

        let file = File::open(folder.path().join("cases.parquet")).unwrap();
        let reader = SerializedFileReader::new(file).unwrap();
        let columns: Vec<String> =
            reader.metadata().file_metadata().schema_descr().columns().iter().map(|c| c.name().to_owned()).collect();
        let place = |name: &str| columns.iter().position(|column| column == name).unwrap();
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2 * report.subjects[0].cases.len());
        for (row, case) in rows.iter().zip(&report.subjects[0].cases) {
            assert_eq!(row.get_string(place("mode")).unwrap(), case.mode.name());
            assert_eq!(row.get_string(place("soc")).unwrap(), "A1");
            assert_eq!(row.get_double(place("decode_tokens_per_s")).unwrap(), case.decode_tokens_per_s.unwrap().value);
            assert_eq!(row.get_string(place("task")).ok(), case.task.as_ref(), "null where all tasks are meant");
            assert!(row.get_bool(place("is_lossless")).unwrap());
        }
    }

    #[test]
    fn an_unfinished_file_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let mut out = ParquetFolder::create(folder.path()).unwrap();
        for _ in 0..600 {
            out.add(&report(run())).unwrap();
        }
        assert!(std::fs::read_dir(folder.path()).unwrap().count() > 0, "a row group was written");
        drop(out);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
